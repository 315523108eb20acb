// Used by `rcn-search leaderboard serve` only: reloads the page when the leaderboard has changed. The state of tables lasts
// through a reload (table.js); this script keeps the cursor in a search field that somebody is typing into.
"use strict";
{
  const stampUrl = document.currentScript.dataset.stamp;
  const key = `${location.pathname}#typing`;

  const reload = () => {
    const field = document.activeElement;
    if (field?.matches("input[type=search]")) {
      try { sessionStorage.setItem(key, JSON.stringify([field.id, field.selectionStart, field.selectionEnd])); } catch { /* storage is blocked */ }
    }
    location.reload();
  };

  const restoreCursor = () => {
    try {
      const [id, start, end] = JSON.parse(sessionStorage.getItem(key));
      sessionStorage.removeItem(key);
      const field = document.getElementById(id);
      field.focus({ preventScroll: true });
      field.setSelectionRange(start, end);
    } catch { /* nobody was typing */ }
  };

  let knownStamp = null;
  const poll = async () => {
    try {
      const response = await fetch(stampUrl, { cache: "no-store" });
      const stamp = response.ok ? await response.text() : knownStamp;
      if (knownStamp !== null && stamp !== knownStamp) { reload(); return; }
      knownStamp = stamp;
    } catch { /* the server does not respond; it may return */ }
    setTimeout(poll, 1000);
  };
  restoreCursor();
  poll();
}
