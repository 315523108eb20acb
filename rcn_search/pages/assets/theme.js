// Light, dark, or the theme of the system. Loaded before the page is drawn, so that no other theme flashes.
"use strict";
{
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const key = "rcn-search-theme";
  const read = () => { try { return localStorage.getItem(key); } catch { return null; } };
  const save = (theme) => { try { localStorage.setItem(key, theme); } catch { /* storage is blocked: for this page only */ } };
  let theme = themes.includes(read()) ? read() : "auto";
  const apply = () => { root.dataset.theme = theme; };
  root.classList.add("js");
  apply();
  addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("button.theme");
    const label = () => { button.textContent = `Theme: ${theme}`; };
    label();
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      save(theme);
      apply();
      label();
    });
  });
}
