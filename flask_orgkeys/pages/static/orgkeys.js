// Without this script every step is a page of its own.
const root = document.querySelector("[data-orgkeys]");
const on = (target, type, listener) => target?.addEventListener(type, listener);

const open = (dialog, closed) => {
  const back = dialog.querySelector("[data-orgkeys-back]");
  on(back, "click", (event) => {
    event.preventDefault();
    dialog.close();
  });
  // "?": after a POST, the list has the address of this page.
  on(dialog, "close", () => closed(`${back.href}?#${back.dataset.orgkeysBack}`));
  dialog.removeAttribute("open");
  dialog.showModal();
};

// A step's page holds its dialog.
const openStep = async (link) => {
  try {
    const answer = await fetch(link.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const dialog = page.querySelector(".orgkeys-dialog");
    if (!dialog) throw new Error();
    root.append(dialog);
    open(dialog, () => dialog.remove());
  } catch {
    location.assign(link.href);
  }
};

let opening = false;
on(root, "click", async (event) => {
  const link = event.target.closest("[data-orgkeys-opens]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (opening) return;
  opening = true;
  link.focus();
  await openStep(link);
  opening = false;
});

on(root, "click", ({ target }) => {
  const group = target.closest("[data-orgkeys-all]")?.closest("[role=group], fieldset");
  const boxes = [...group?.querySelectorAll("input") ?? []];
  const checked = boxes.some((box) => !box.checked);
  for (const box of boxes) box.checked = checked;
});

// A double click sends a form once.
let sent;
on(root, "submit", (event) => {
  if (sent === event.target && sent.method === "post") event.preventDefault();
  sent = event.target;
});
on(window, "pageshow", () => { sent = null; });

// By keyboard, a closed select changes at each press: Apply applies.
const filter = root.querySelector("#orgkeys-status");
let byKey = false;
on(filter, "keydown", () => { byKey = true; });
on(filter, "pointerdown", () => { byKey = false; });
on(filter, "change", () => byKey || filter.form.requestSubmit());

// Escape puts a tip away.
for (const type of ["keydown", "pointerout"]) {
  on(window, type, (event) => root.classList.toggle("orgkeys-quiet", event.key === "Escape"));
}

const showKey = (dialog, token) => {
  const status = dialog.querySelector("[role=status]");
  let copied = false;
  const say = (text) => {
    status.textContent = "";
    setTimeout(() => { status.textContent = status.dataset[text]; }, 50);
  };
  on(token, "copy", () => {
    copied = true;
    say("copied");
  });
  on(dialog, "click", async (event) => {
    const id = event.target.closest("[data-orgkeys-copy]")?.dataset.orgkeysCopy;
    if (!id) return;
    const source = document.getElementById(id);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      copied ||= source === token;
      say("copied");
    } catch {
      // No clipboard on plain http.
      getSelection().selectAllChildren(source);
      source.focus();
      source.select?.();
      say("selected");
    }
  });
  on(dialog, "cancel", (event) => event.preventDefault());
  on(window, "keydown", (event) => event.key === "Escape" && event.preventDefault());
  on(window, "beforeunload", (event) => { if (!copied) event.returnValue = true; });
  open(dialog, (list) => {
    copied = true;
    location.replace(list);
  });
  // Back brings nothing back.
  on(window, "pagehide", () => token.remove());
  on(window, "pageshow", (event) => event.persisted && location.replace(root.dataset.orgkeys));
};

const dialog = root.querySelector("dialog[open]");
const token = root.querySelector("#orgkeys-token");
if (token) showKey(dialog, token);
else if (dialog) open(dialog, (list) => location.assign(list));
else if (location.hash.startsWith("#orgkeys-")) {
  // Back from a step, to where it began.
  document.getElementById(location.hash.slice(1))?.focus();
  history.replaceState(null, "", location.pathname + location.search);
}
