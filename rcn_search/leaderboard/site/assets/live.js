// Only where `rcn-search leaderboard serve` shows the board: load the page anew when the board has changed.
"use strict";
{
  const place = document.currentScript.dataset.stamp;
  let shown = null;
  const look = async () => {
    try {
      const answer = await fetch(place, { cache: "no-store" });
      const stamp = answer.ok ? await answer.text() : shown;
      if (shown !== null && stamp !== shown) { location.reload(); return; }
      shown = stamp;
    } catch { /* the server is away; it may come back */ }
    setTimeout(look, 1000);
  };
  look();
}
