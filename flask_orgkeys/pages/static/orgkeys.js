// Without this script every step is a page of its own. Listeners are the document's: a host's
// script may render the page anew.
const on = (target, type, listener) => target.addEventListener(type, listener);
const find = (selector, start = document) => start.querySelector(selector);
const findAll = (selector, start) => [...start.querySelectorAll(selector)];
const root = () => find("[data-orgkeys]");

const open = (dialog, closed) => {
  const back = find("[data-orgkeys-back]", dialog);
  // "?": after a POST, the list has the address of this page.
  on(dialog, "close", () => closed(`${back.href}?#${back.dataset.orgkeysBack}`));
  dialog.removeAttribute("open");
  dialog.showModal();
  for (const fieldset of findAll("[data-orgkeys-scopes]", dialog)) count(fieldset);
};

// The last click wins. Busy after 200 ms; after 3 s the step's own page has to do.
let opening;
const openStep = async (link) => {
  opening?.abort();
  const { signal } = opening = new AbortController();
  link.focus();
  const busy = setTimeout(() => link.setAttribute("aria-busy", "true"), 200);
  const late = setTimeout(() => location.assign(link.href), 3000);
  const isCurrent = () => !signal.aborted && document.activeElement === link;
  try {
    const answer = await fetch(link.href, { signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const dialog = find(".orgkeys-dialog", page);
    if (!dialog) throw new Error();
    if (isCurrent()) {
      root().append(dialog);
      open(dialog, () => dialog.remove());
    }
  } catch {
    if (isCurrent()) location.assign(link.href);
  } finally {
    clearTimeout(busy);
    clearTimeout(late);
    link.removeAttribute("aria-busy");
  }
};

// The scopes of a form: how many are chosen, all of a group, and a search.
const boxesOf = (button) => findAll("[name=scopes]", button.closest("[role=group], fieldset"));
const count = (fieldset) => {
  const chosen = findAll("[name=scopes]:checked", fieldset).length;
  for (const status of findAll("[data-orgkeys-count]", fieldset)) {
    status.textContent = status.dataset.orgkeysCount.replace("{n}", chosen);
  }
  for (const button of findAll("[data-orgkeys-all]", fieldset)) {
    const isFull = boxesOf(button).every((box) => box.checked);
    button.textContent = button.dataset[isFull ? "orgkeysNone" : "orgkeysAll"];
  }
};
const plain = (text) => text.trim().toLowerCase();
const search = (fieldset, text) => {
  for (const choice of findAll(".orgkeys-choice", fieldset)) {
    choice.hidden = !plain(choice.textContent).includes(text);
  }
  for (const group of findAll("[role=group]", fieldset)) {
    group.hidden = !find(".orgkeys-choice:not([hidden])", group);
    const details = find("details", group);
    if (details && text) details.open = true;
  }
};

on(document, "click", (event) => {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const hit = (selector) => event.target.closest?.(`[data-orgkeys] ${selector}`);
  const link = hit("[data-orgkeys-opens]");
  const back = hit("dialog:modal [data-orgkeys-back]");
  const all = hit("[data-orgkeys-all]");
  if (link && !link.closest("dialog")) openStep(link);
  else if (back) back.closest("dialog").close();
  else if (all) {
    const boxes = boxesOf(all).filter((box) => box.offsetParent);
    const checked = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = checked;
    count(all.closest("[data-orgkeys-scopes]"));
  } else return;
  event.preventDefault();
});
on(document, "input", ({ target }) => {
  const fieldset = target.closest?.("[data-orgkeys-scopes]");
  if (fieldset && target.type === "search") search(fieldset, plain(target.value));
  else if (fieldset) count(fieldset);
  const taken = target.id === "orgkeys-name" && find("#orgkeys-name-taken");
  if (taken) {
    const names = findAll(".orgkeys-table tbody th a", document);
    taken.hidden = !names.some((link) => plain(link.textContent) === plain(target.value));
  }
});
on(document, "keydown", (event) => {
  if (event.key === "Enter" && event.target.matches?.("[data-orgkeys-search]")) event.preventDefault();
});

// A double click sends a form once; after Stop, it is sent again.
let sent;
const unsend = () => {
  sent?.removeAttribute("aria-busy");
  sent = null;
};
on(document, "submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || !form.closest("[data-orgkeys]")) return;
  if (sent === form) return event.preventDefault();
  sent = form;
  form.setAttribute("aria-busy", "true");
  const status = find("[data-orgkeys-sending]", form);
  if (status) setTimeout(() => { if (sent === form) status.textContent = status.dataset.orgkeysSending; }, 200);
  setTimeout(unsend, 10000);
});
on(window, "pageshow", unsend);
if (window.navigation) on(navigation, "navigateerror", unsend);

const showKey = (dialog, token) => {
  const status = find("[role=status]", dialog);
  let copied = false;
  const say = (text) => {
    status.textContent = "";
    setTimeout(() => { status.textContent = text; }, 50);
  };
  const copiedKey = () => {
    copied = true;
    find("[data-orgkeys-back]", dialog).classList.add("orgkeys-button--primary");
    say(status.dataset.copied);
  };
  on(token, "copy", copiedKey);
  on(dialog, "click", async (event) => {
    const button = event.target.closest("[data-orgkeys-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.orgkeysCopy);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      if (source === token) copiedKey();
      else say(button.dataset.copied);
    } catch {
      // No clipboard on plain http.
      getSelection().selectAllChildren(source);
      source.focus();
      source.select?.();
      say(status.dataset.selected);
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
  const list = root().dataset.orgkeys;
  on(window, "pagehide", () => token.remove());
  on(window, "pageshow", (event) => event.persisted && location.replace(list));
};

const dialog = find("[data-orgkeys] > dialog[open]");
const token = find("#orgkeys-token");
if (token) showKey(dialog, token);
else if (dialog) open(dialog, (list) => location.assign(list));
else if (location.hash.startsWith("#orgkeys-")) {
  // Back from a step, to where it began.
  document.getElementById(location.hash.slice(1))?.focus();
  history.replaceState(history.state, "", location.pathname + location.search);
}
document.documentElement.classList.remove("orgkeys-early");
