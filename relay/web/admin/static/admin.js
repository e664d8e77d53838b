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

// How many a button will touch stands on it.
for (const button of document.querySelectorAll("[data-count]")) {
  const label = button.textContent;
  const write = () => {
    const ticked = button.form.querySelectorAll(`input[name="${button.dataset.count}"]:checked`).length;
    button.textContent = ticked ? `${label}: ${ticked}` : label;
  };
  button.form.addEventListener("change", write);
  write();
}

// What is to be entered elsewhere is copied with a click.
for (const cell of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.className = "quiet";
  button.textContent = cell.dataset.copy;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(cell.querySelector("code, pre").textContent);
    button.textContent = cell.dataset.copied;
  });
  if (navigator.clipboard) cell.append(button);
}

// The overview stays fresh by itself; a part of it in which somebody is just doing something is left alone.
const main = document.querySelector("[data-refresh]");
if (main) {
  const isBusy = (part) => part.contains(document.activeElement) || part.querySelector("details[open]");
  const replace = (fresh) => {
    const present = new Map([...main.querySelectorAll("[data-part]")].map((part) => [part.id, part]));
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = present.get(part.id);
      if (old && !isBusy(old) && old.innerHTML !== part.innerHTML) old.replaceChildren(...part.childNodes);
    }
  };
  const refresh = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (answer.redirected) { location.reload(); return; }
        if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch { /* the relay is being restarted: the next time */ }
    }
    setTimeout(refresh, 1000 * Number(main.dataset.refresh));
  };
  setTimeout(refresh, 1000 * Number(main.dataset.refresh));
}
