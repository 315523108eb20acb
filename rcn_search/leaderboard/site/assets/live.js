// Only where `rcn-search leaderboard serve` shows the leaderboard: load the page anew when the leaderboard has changed. Order, search
// and open rows outlive that (table.js); here it is the search field that someone is typing into.
"use strict";
{
  const place = document.currentScript.dataset.stamp;
  const key = `${location.pathname}#typing`;

  const leave = () => {
    const field = document.activeElement;
    if (field?.matches("input[type=search]")) {
      try { sessionStorage.setItem(key, JSON.stringify([field.id, field.selectionStart, field.selectionEnd])); } catch { /* not kept then */ }
    }
    location.reload();
  };

  const comeBack = () => {
    try {
      const [id, start, end] = JSON.parse(sessionStorage.getItem(key));
      sessionStorage.removeItem(key);
      const field = document.getElementById(id);
      field.focus({ preventScroll: true });
      field.setSelectionRange(start, end);
    } catch { /* nobody was typing */ }
  };

  let shown = null;
  const look = async () => {
    try {
      const answer = await fetch(place, { cache: "no-store" });
      const stamp = answer.ok ? await answer.text() : shown;
      if (shown !== null && stamp !== shown) { leave(); return; }
      shown = stamp;
    } catch { /* the server is away; it may come back */ }
    setTimeout(look, 1000);
  };
  comeBack();
  look();
}
