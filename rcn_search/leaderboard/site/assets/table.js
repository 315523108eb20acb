// Tables that sort, filter, turn pages, and open a row in its place. Without this script they are read as they stand.
"use strict";
{
  const PAGE = 100;

  const element = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html; // written by the site with every name escaped
    return template.content.firstElementChild;
  };

  const compare = (a, b) => {
    if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, "en", { numeric: true });
    return a - b;
  };

  class Leaderboard {
    constructor(section) {
      this.section = section;
      this.data = JSON.parse(section.querySelector("script.rows").textContent);
      this.body = section.querySelector("tbody");
      this.rows = [...this.body.rows];
      this.static = this.rows.length;
      this.heads = [...section.querySelectorAll("thead th")];
      this.input = section.querySelector("input");
      this.chips = [...section.querySelectorAll(".chip")];
      this.pager = section.querySelector(".pager");
      this.store = `${location.pathname}#${section.dataset.kind}`;
      const first = this.heads.find((head) => head.hasAttribute("aria-sort"));
      this.state = { column: first.dataset.column, descending: false, query: "", without: [], page: 0, open: [] };
      this.recall();
      this.prepare();
      this.show();
      this.reopen();
    }

    // What is chosen outlives a reload, by hand or by the live server, and no more.
    recall() {
      try { Object.assign(this.state, JSON.parse(sessionStorage.getItem(this.store))); } catch { /* as at first */ }
    }

    keep() {
      try { sessionStorage.setItem(this.store, JSON.stringify(this.state)); } catch { /* not kept then */ }
    }

    prepare() {
      for (const head of this.heads) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent;
        button.title = head.title;
        head.removeAttribute("title");
        head.replaceChildren(button);
        button.addEventListener("click", () => this.sort(head.dataset.column));
      }
      this.section.querySelector(".tools").hidden = false;
      this.input.value = this.state.query;
      this.input.addEventListener("input", () => this.set({ query: this.input.value, page: 0 }));
      for (const chip of this.chips) {
        chip.addEventListener("click", () => {
          const without = new Set(this.state.without);
          const origin = chip.dataset.origin;
          if (!without.delete(origin)) without.add(origin);
          this.set({ without: [...without], page: 0 });
        });
      }
      const [previous, next] = this.pager.querySelectorAll("button");
      previous.addEventListener("click", () => this.set({ page: this.state.page - 1 }));
      next.addEventListener("click", () => this.set({ page: this.state.page + 1 }));
      this.body.addEventListener("keydown", (event) => this.step(event));
    }

    set(change) {
      Object.assign(this.state, change);
      this.keep();
      this.show();
    }

    sort(column) {
      const descending = this.state.column === column && !this.state.descending;
      this.set({ column, descending, page: 0 });
    }

    key(place) {
      const { column } = this.state;
      return column === "method" ? this.data.methods[place] : this.data.keys[place][Number(column)];
    }

    order() {
      const words = this.state.query.toLowerCase().split(/\s+/).filter(Boolean);
      const places = [...this.data.keys.keys()].filter((place) => (
        !this.state.without.includes(this.data.origins[place])
        && words.every((word) => this.data.texts[place].includes(word))
      ));
      const sign = this.state.descending ? -1 : 1;
      // What is not known stands last, whichever way the rest goes.
      return places.sort((a, b) => {
        const [one, other] = [this.key(a), this.key(b)];
        if (one === null || other === null) return (one === null) - (other === null) || a - b;
        return sign * compare(one, other) || a - b;
      });
    }

    row(place) {
      if (!this.rows[place]) this.rows[place] = element(this.data.more[place - this.static]);
      const row = this.rows[place];
      if (!row.dataset.ready) this.open(row);
      return row;
    }

    show() {
      const order = this.order();
      const pages = Math.max(1, Math.ceil(order.length / PAGE));
      this.state.page = Math.min(Math.max(this.state.page, 0), pages - 1);
      const { page } = this.state;
      const shown = order.slice(page * PAGE, (page + 1) * PAGE);
      this.body.replaceChildren(...shown.flatMap((place) => {
        const row = this.row(place);
        return row.panel && !row.panel.hidden ? [row, row.panel] : [row];
      }));
      for (const head of this.heads) {
        if (head.dataset.column !== this.state.column) head.removeAttribute("aria-sort");
        else head.setAttribute("aria-sort", this.state.descending ? "descending" : "ascending");
      }
      for (const chip of this.chips) {
        chip.setAttribute("aria-pressed", String(!this.state.without.includes(chip.dataset.origin)));
      }
      const all = this.data.keys.length;
      const count = (number) => number.toLocaleString("en");
      this.section.querySelector("output").textContent = order.length === all
        ? `${count(all)} ${all === 1 ? "row" : "rows"}` : `${count(order.length)} of ${count(all)} rows`;
      this.pager.hidden = pages === 1;
      this.pager.querySelector("span").textContent = `${page + 1} of ${pages}`;
      const [previous, next] = this.pager.querySelectorAll("button");
      previous.disabled = page === 0;
      next.disabled = page === pages - 1;
    }

    // A button beside the name opens the page of the entry within the table; the name itself leads to that page.
    open(row) {
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
        if (location.protocol === "file:") { // a page from a folder may not read its neighbour, but it may lead there
          location.assign(link.href);
          return;
        }
        let entry;
        try {
          const answer = await fetch(link.href);
          if (!answer.ok) throw new Error(answer.statusText);
          entry = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("article.entry");
        } catch { // the server is away
          location.assign(link.href);
          return;
        }
        for (const each of entry.querySelectorAll("a[href], image[href]")) {
          if (each.getAttribute("href").startsWith("../")) {
            each.setAttribute("href", each.getAttribute("href").slice("../".length));
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
        globalThis.offerCopies(cell);
      }
      row.panel.hidden = !row.panel.hidden;
      if (!row.panel.isConnected) row.after(row.panel);
      button.setAttribute("aria-expanded", String(!row.panel.hidden));
      const others = this.state.open.filter((entry) => entry !== row.dataset.entry);
      this.state.open = row.panel.hidden ? others : [...others, row.dataset.entry];
      this.keep();
      if (!row.panel.hidden) globalThis.drawCharts(row.panel);
    }

    step(event) {
      const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!move || !event.target.matches("button.toggle")) return;
      const buttons = [...this.body.querySelectorAll("button.toggle")];
      const next = buttons[buttons.indexOf(event.target) + move];
      if (next) { next.focus(); event.preventDefault(); }
    }
  }

  globalThis.offerCopies = (root) => {
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

  if (navigator.clipboard) globalThis.offerCopies(document);
  else globalThis.offerCopies = () => {};
  for (const section of document.querySelectorAll("section.leaderboard")) new Leaderboard(section);
}
