// Hides a dialog until it is one. If orgkeys.js does not come, it is a page of its own.
document.documentElement.classList.add("orgkeys-early");
setTimeout(() => document.documentElement.classList.remove("orgkeys-early"), 3000);
