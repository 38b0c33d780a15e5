// Without this script every step is a page of its own. Listeners are the window's, and elements are
// found when they are needed: a host's script may render the page anew at any time.
const on = (type, listener) => addEventListener(type, listener, true);
const find = (selector, start = document) => start.querySelector(selector);
const findAll = (selector, start = document) => [...start.querySelectorAll(selector)];
const onClick = (selector, act) => on("click", (event) => {
  const hit = event.target.closest?.(`[data-orgkeys] ${selector}`);
  if (!hit || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  act(hit);
});

// Makes a dialog of one that stands in the page, at first or rendered anew.
const openDialog = () => {
  const dialog = find("[data-orgkeys] > dialog[open]:not(:modal)");
  if (!dialog) return;
  dialog.removeAttribute("open");
  dialog.showModal();
};

// The last click wins. Busy after 200 ms; after 3 s the step's own page has to do.
let opening;
onClick("[data-orgkeys-opens]", async (link) => {
  opening?.abort();
  const step = opening = new AbortController();
  const busy = setTimeout(() => { link.ariaBusy = true; }, 200);
  setTimeout(() => step.abort(), 3000);
  const isCurrent = () => step === opening && document.activeElement === link;
  link.focus();
  try {
    const answer = await fetch(link.href, { signal: step.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const dialog = find(".orgkeys-dialog", page);
    dialog.dataset.orgkeysStep = "";
    if (isCurrent()) find("[data-orgkeys]").append(dialog);
  } catch {
    if (isCurrent()) location.assign(link.href);
  }
  clearTimeout(busy);
  link.ariaBusy = false;
});
onClick("dialog:modal [data-orgkeys-back]", (back) => back.closest("dialog").close());
on("close", ({ target }) => {
  if (!target.matches?.("[data-orgkeys] > dialog")) return;
  if ("orgkeysStep" in target.dataset) return target.remove();
  const back = find("[data-orgkeys-back]", target);
  copied = true;
  // "?": after a POST, the list has the address of this page.
  location.replace(`${back.href}?#${back.dataset.orgkeysBack}`);
});

// The scopes of a form: how many are chosen, all of a group, and a search.
const count = (fieldset) => {
  const chosen = findAll("[name=scopes]:checked", fieldset).length;
  for (const status of findAll("[data-orgkeys-count]", fieldset)) {
    status.textContent = status.dataset.orgkeysCount.replace("{n}", chosen);
  }
};
onClick("[data-orgkeys-all]", (button) => {
  const boxes = findAll(".orgkeys-choice:not([hidden]) input", button.closest(".orgkeys-set"));
  const checked = boxes.some((box) => !box.checked);
  for (const box of boxes) box.checked = checked;
  count(button.closest("fieldset"));
});
const plain = (text) => text.trim().toLowerCase();
const search = (fieldset, text) => {
  for (const choice of findAll(".orgkeys-choice", fieldset)) {
    choice.hidden = !plain(choice.textContent).includes(text);
  }
  if (text) for (const details of findAll("details", fieldset)) details.open = true;
};
on("input", ({ target }) => {
  const fieldset = target.closest?.("[data-orgkeys-scopes]");
  if (fieldset && target.type === "search") search(fieldset, plain(target.value));
  else if (fieldset) count(fieldset);
  const taken = target.id === "orgkeys-name" && find("#orgkeys-name-taken");
  if (!taken) return;
  const name = plain(target.value);
  taken.hidden = !findAll("tbody th a").some((link) => plain(link.textContent) === name);
});

// A double click sends a form once; after Stop, it is sent again.
let sent;
const showSending = (isSending) => {
  if (!sent) return;
  find("[type=submit]", sent).ariaBusy = isSending;
  const status = find("[data-orgkeys-sending]", sent);
  if (status) status.textContent = isSending ? status.dataset.orgkeysSending : "";
};
const unsend = () => {
  showSending(false);
  sent = null;
};
addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || !form.matches("[data-orgkeys] [method=post]")) return;
  if (sent === form) return event.preventDefault();
  sent = form;
  setTimeout(showSending, 200, true);
  setTimeout(unsend, 10000);
});
window.navigation?.addEventListener("navigateerror", unsend);

// The key, once. Nothing closes it but Done, and Back brings nothing back.
let copied = false;
const token = () => find("#orgkeys-token");
const stay = (event) => token() && event.preventDefault();
const announce = (text) => {
  const status = find("[data-selected]");
  status.textContent = "";
  setTimeout(() => { status.textContent = status.dataset[text] ?? text; }, 50);
};
const noteCopy = () => {
  copied = true;
  find(":modal [data-orgkeys-back]").classList.add("orgkeys-button--primary");
  announce("copied");
};
onClick("[data-orgkeys-copy]", async (button) => {
  const source = find(`#${button.dataset.orgkeysCopy}`);
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    if (source === token()) noteCopy();
    else announce(button.dataset.copied);
  } catch {
    // No clipboard on plain http.
    getSelection().selectAllChildren(source);
    source.focus();
    source.select?.();
    announce("selected");
  }
});
on("copy", ({ target }) => target === token() && noteCopy());
on("cancel", stay);
on("keydown", (event) => {
  if (event.key === "Escape") stay(event);
  if (event.key === "Enter" && event.target.matches?.("[data-orgkeys-search]")) event.preventDefault();
});
on("beforeunload", (event) => copied || stay(event));
on("pagehide", () => token()?.remove());
on("pageshow", ({ persisted }) => {
  unsend();
  if (persisted && find("[data-selected]")) location.replace(find("[data-orgkeys]").dataset.orgkeys);
});

openDialog();
new MutationObserver(openDialog).observe(document, { childList: true, subtree: true });
if (location.hash.startsWith("#orgkeys-")) {
  // Back from a step, to where it began.
  document.getElementById(location.hash.slice(1))?.focus();
  history.replaceState(history.state, "", location.pathname + location.search);
}
