// Tables that sort, filter, have pages, and open a row in place. Without this script they are plain tables.
"use strict";
{
  const PAGE = 100;

  const element = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html; // the site has escaped every name in it
    return template.content.firstElementChild;
  };

  const compare = (a, b) => {
    if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, "en", { numeric: true });
    return a - b;
  };

  class SortableTable {
    constructor(section) {
      this.section = section;
      this.data = JSON.parse(section.querySelector("script.rows").textContent);
      this.body = section.querySelector("tbody");
      this.rows = [...this.body.rows];
      this.static = this.rows.length;
      this.headers = [...section.querySelectorAll("thead th")];
      this.input = section.querySelector("input");
      this.originButtons = [...section.querySelectorAll(".chip")];
      this.pager = section.querySelector(".pager");
      this.store = `${location.pathname}#${section.dataset.kind}`;
      const first = this.headers.find((header) => header.hasAttribute("aria-sort"));
      this.state = { column: first.dataset.column, descending: false, query: "", hiddenOrigins: [], page: 0, open: [] };
      this.restoreState();
      this.prepare();
      this.show();
      this.reopen();
    }

    // The state lasts for the session, so that a reload by the user or by the live server keeps it.
    restoreState() {
      try { Object.assign(this.state, JSON.parse(sessionStorage.getItem(this.store))); } catch { /* the default state */ }
    }

    saveState() {
      try { sessionStorage.setItem(this.store, JSON.stringify(this.state)); } catch { /* storage is blocked */ }
    }

    prepare() {
      for (const header of this.headers) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = header.textContent;
        button.title = header.title;
        header.removeAttribute("title");
        header.replaceChildren(button);
        button.addEventListener("click", () => this.sort(header.dataset.column));
      }
      this.section.querySelector(".tools").hidden = false;
      this.input.value = this.state.query;
      this.input.addEventListener("input", () => this.update({ query: this.input.value, page: 0 }));
      for (const button of this.originButtons) {
        button.addEventListener("click", () => {
          const hidden = new Set(this.state.hiddenOrigins);
          const origin = button.dataset.origin;
          if (!hidden.delete(origin)) hidden.add(origin);
          this.update({ hiddenOrigins: [...hidden], page: 0 });
        });
      }
      const [previous, next] = this.pager.querySelectorAll("button");
      previous.addEventListener("click", () => this.update({ page: this.state.page - 1 }));
      next.addEventListener("click", () => this.update({ page: this.state.page + 1 }));
      this.body.addEventListener("keydown", (event) => this.moveFocus(event));
    }

    update(change) {
      Object.assign(this.state, change);
      this.saveState();
      this.show();
    }

    sort(column) {
      const descending = this.state.column === column && !this.state.descending;
      this.update({ column, descending, page: 0 });
    }

    key(index) {
      const { column } = this.state;
      return column === "method" ? this.data.methods[index] : this.data.keys[index][Number(column)];
    }

    order() {
      const words = this.state.query.toLowerCase().split(/\s+/).filter(Boolean);
      const indices = [...this.data.keys.keys()].filter((index) => (
        !this.state.hiddenOrigins.includes(this.data.origins[index])
        && words.every((word) => this.data.texts[index].includes(word))
      ));
      const sign = this.state.descending ? -1 : 1;
      // Unknown values come last in either direction.
      return indices.sort((a, b) => {
        const [keyA, keyB] = [this.key(a), this.key(b)];
        if (keyA === null || keyB === null) return (keyA === null) - (keyB === null) || a - b;
        return sign * compare(keyA, keyB) || a - b;
      });
    }

    row(index) {
      if (!this.rows[index]) this.rows[index] = element(this.data.more[index - this.static]);
      const row = this.rows[index];
      if (!row.dataset.ready) this.addToggle(row);
      return row;
    }

    show() {
      const order = this.order();
      const pages = Math.max(1, Math.ceil(order.length / PAGE));
      this.state.page = Math.min(Math.max(this.state.page, 0), pages - 1);
      const { page } = this.state;
      const shown = order.slice(page * PAGE, (page + 1) * PAGE);
      this.body.replaceChildren(...shown.flatMap((index) => {
        const row = this.row(index);
        return row.panel && !row.panel.hidden ? [row, row.panel] : [row];
      }));
      for (const header of this.headers) {
        if (header.dataset.column !== this.state.column) header.removeAttribute("aria-sort");
        else header.setAttribute("aria-sort", this.state.descending ? "descending" : "ascending");
      }
      for (const button of this.originButtons) {
        button.setAttribute("aria-pressed", String(!this.state.hiddenOrigins.includes(button.dataset.origin)));
      }
      const total = this.data.keys.length;
      const count = (number) => number.toLocaleString("en");
      this.section.querySelector("output").textContent = order.length === total
        ? `${count(total)} ${total === 1 ? "row" : "rows"}` : `${count(order.length)} of ${count(total)} rows`;
      this.pager.hidden = pages === 1;
      this.pager.querySelector("span").textContent = `${page + 1} of ${pages}`;
      const [previous, next] = this.pager.querySelectorAll("button");
      previous.disabled = page === 0;
      next.disabled = page === pages - 1;
    }

    // A button beside the name shows the page of the entry within the table; the name itself links to that page.
    addToggle(row) {
      row.dataset.ready = "true";
      const link = row.querySelector("a.open");
      if (!link) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "toggle";
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-label", `Details of ${link.textContent}`);
      link.before(button);
      button.addEventListener("click", () => this.toggle(row, button, link));
    }

    reopen() {
      const opened = new Set(this.state.open);
      for (const row of this.body.querySelectorAll("tr[data-entry]")) {
        if (opened.has(row.dataset.entry)) this.toggle(row, row.querySelector("button.toggle"), row.querySelector("a.open"));
      }
    }

    async toggle(row, button, link) {
      if (!row.panel) {
        if (location.protocol === "file:") { // a page opened from a folder may link to its neighbor, but not read it
          location.assign(link.href);
          return;
        }
        let entry;
        try {
          const response = await fetch(link.href);
          if (!response.ok) throw new Error(response.statusText);
          entry = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("article.entry");
        } catch { // the server does not respond
          location.assign(link.href);
          return;
        }
        for (const link of entry.querySelectorAll("a[href], image[href]")) {
          if (link.getAttribute("href").startsWith("../")) {
            link.setAttribute("href", link.getAttribute("href").slice("../".length));
          }
        }
        row.panel = document.createElement("tr");
        row.panel.className = "panel";
        const cell = row.panel.insertCell();
        cell.colSpan = row.cells.length;
        cell.append(document.adoptNode(entry));
        row.panel.hidden = true;
        row.after(row.panel);
        globalThis.drawCharts(cell);
        globalThis.addCopyButtons(cell);
      }
      row.panel.hidden = !row.panel.hidden;
      if (!row.panel.isConnected) row.after(row.panel);
      button.setAttribute("aria-expanded", String(!row.panel.hidden));
      const others = this.state.open.filter((entry) => entry !== row.dataset.entry);
      this.state.open = row.panel.hidden ? others : [...others, row.dataset.entry];
      this.saveState();
      if (!row.panel.hidden) globalThis.drawCharts(row.panel);
    }

    moveFocus(event) {
      const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!move || !event.target.matches("button.toggle")) return;
      const buttons = [...this.body.querySelectorAll("button.toggle")];
      const next = buttons[buttons.indexOf(event.target) + move];
      if (next) { next.focus(); event.preventDefault(); }
    }
  }

  globalThis.addCopyButtons = (root) => {
    for (const box of root.querySelectorAll(".copy:not(:has(button))")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(box.querySelector("pre").textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      box.append(button);
    }
  };

  if (navigator.clipboard) globalThis.addCopyButtons(document);
  else globalThis.addCopyButtons = () => {};
  for (const section of document.querySelectorAll("section.leaderboard")) new SortableTable(section);
}
