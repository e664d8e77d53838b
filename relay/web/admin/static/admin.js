// The page works without this: it only saves clicks.
"use strict";

// All of a page's letters at once.
for (const box of document.querySelectorAll("[data-all]")) {
  box.closest("label").hidden = false;
  box.addEventListener("change", () => {
    for (const one of box.form.querySelectorAll(`input[name="${box.dataset.all}"]`)) one.checked = box.checked;
  });
}

// "All that are found" means the filters, not what happens to be ticked.
for (const button of document.querySelectorAll("[data-everything]")) {
  button.addEventListener("click", () => {
    for (const one of button.form.querySelectorAll('input[name="id"]')) one.checked = false;
  });
}

// The overview stays fresh while somebody looks at it and does nothing in it.
const main = document.querySelector("[data-refresh]");
if (main) {
  const refresh = async () => {
    const busy = main.contains(document.activeElement) || main.querySelector("details[open]");
    if (!document.hidden && !busy) {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (answer.redirected) { location.reload(); return; }
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-refresh]");
          if (fresh) main.replaceChildren(...fresh.childNodes);
        }
      } catch { /* the relay is being restarted: the next time */ }
    }
    setTimeout(refresh, 1000 * Number(main.dataset.refresh));
  };
  setTimeout(refresh, 1000 * Number(main.dataset.refresh));
}
