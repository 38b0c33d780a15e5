// Without this script every step is a page of its own. Listeners are the document's, and elements are
// found when they are needed: a host's script may render the page anew at any time.
const on = (target, type, listener) => target.addEventListener(type, listener, true);
const find = (selector, start = document) => start.querySelector(selector);
const findAll = (selector, start) => [...start.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const setBusy = (element, isBusy) => element.setAttribute("aria-busy", isBusy);

// Makes a dialog of one that stands in the page, at first or rendered anew.
const openDialog = () => {
  const dialog = find("[data-orgkeys] > dialog[open]:not(:modal)");
  if (!dialog) return;
  dialog.removeAttribute("open");
  dialog.showModal();
  for (const fieldset of findAll("[data-orgkeys-scopes]", dialog)) count(fieldset);
};

// The last click wins. Busy after 200 ms; after 3 s the step's own page has to do.
let opening;
const openStep = async (link) => {
  opening?.abort();
  const step = opening = new AbortController();
  link.focus();
  const isCurrent = () => !step.signal.aborted && document.activeElement === link;
  const openPage = () => {
    if (isCurrent()) location.assign(link.href);
    step.abort();
  };
  const timers = [setTimeout(setBusy, 200, link, true), setTimeout(openPage, 3000)];
  try {
    const answer = await fetch(link.href, { signal: step.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const dialog = find(".orgkeys-dialog", page);
    dialog.dataset.orgkeysStep = "";
    if (isCurrent()) find("[data-orgkeys]").append(dialog);
  } catch {
    openPage();
  }
  timers.forEach(clearTimeout);
  setBusy(link, false);
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
    if (text) find("details", group)?.setAttribute("open", "");
  }
};

on(document, "click", (event) => {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const hit = (selector) => event.target.closest?.(`[data-orgkeys] ${selector}`);
  const link = hit("[data-orgkeys-opens]");
  const back = hit("dialog:modal [data-orgkeys-back]");
  const all = hit("[data-orgkeys-all]");
  const copy = hit("[data-orgkeys-copy]");
  if (link) openStep(link);
  else if (back) back.closest("dialog").close();
  else if (copy) copyFrom(copy);
  else if (all) {
    const boxes = boxesOf(all).filter((box) => box.offsetParent);
    const checked = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = checked;
    count(all.closest("fieldset"));
  } else return;
  event.preventDefault();
});
on(document, "input", ({ target }) => {
  const fieldset = target.closest?.("[data-orgkeys-scopes]");
  if (fieldset && target.type === "search") search(fieldset, plain(target.value));
  else if (fieldset) count(fieldset);
  const taken = target.id === "orgkeys-name" && byId("orgkeys-name-taken");
  if (taken) {
    const names = findAll("tbody th a", document).map((link) => plain(link.textContent));
    taken.hidden = !names.includes(plain(target.value));
  }
});
on(window, "keydown", (event) => {
  const isInSearch = event.target.matches?.("[data-orgkeys-search]");
  if (event.key === "Escape" ? token() : event.key === "Enter" && isInSearch) event.preventDefault();
});
on(document, "close", ({ target }) => {
  if (!target.matches?.("[data-orgkeys] > dialog")) return;
  const back = find("[data-orgkeys-back]", target);
  if ("orgkeysStep" in target.dataset) return target.remove();
  copied = true;
  // "?": after a POST, the list has the address of this page.
  location.replace(`${back.href}?#${back.dataset.orgkeysBack}`);
});

// A double click sends a form once; after Stop, it is sent again.
let sent;
const showSending = (isSending) => {
  if (!sent) return;
  setBusy(find("[type=submit]", sent), isSending);
  const status = find("[data-orgkeys-sending]", sent);
  if (status) status.textContent = isSending ? status.dataset.orgkeysSending : "";
};
const unsend = () => {
  showSending(false);
  sent = null;
};
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post" || !form.closest("[data-orgkeys]")) return;
  if (sent === form) return event.preventDefault();
  sent = form;
  setTimeout(showSending, 200, true);
  setTimeout(unsend, 10000);
});
on(window, "pageshow", unsend);
if (window.navigation) on(navigation, "navigateerror", unsend);

// The key, once. Nothing closes it but Done, and Back brings nothing back.
let copied = false;
let left;
const token = () => byId("orgkeys-token");
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
const copyFrom = async (button) => {
  const source = byId(button.dataset.orgkeysCopy);
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
};
on(document, "copy", ({ target }) => target === token() && noteCopy());
on(document, "cancel", (event) => token() && event.preventDefault());
on(window, "beforeunload", (event) => { if (token() && !copied) event.returnValue = true; });
on(window, "pagehide", () => (left = token())?.remove());
on(window, "pageshow", (event) => {
  if (event.persisted && left) location.replace(find("[data-orgkeys]").dataset.orgkeys);
});

openDialog();
new MutationObserver(openDialog).observe(document, { childList: true, subtree: true });
if (location.hash.startsWith("#orgkeys-")) {
  // Back from a step, to where it began.
  byId(location.hash.slice(1))?.focus();
  history.replaceState(history.state, "", location.pathname + location.search);
}
document.documentElement.classList.remove("orgkeys-early");
