// Charts of a page: curves and points in SVG, for pointer, touch and arrow keys. No library. Colors are in the style
// sheet, so that a chart follows the theme.
"use strict";
{
  const NUM_COLORS = 8;
  const MARGIN = { top: 10, right: 12, bottom: 38, left: 46 };

  const svg = (name, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent?.append(node);
    return node;
  };

  const html = (name, className, parent, text) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    parent?.append(node);
    return node;
  };

  const short = (value) => {
    const units = [[1e9, " G"], [1e6, " M"], [1e3, " k"]];
    const [size, unit] = units.find(([least]) => Math.abs(value) >= least) ?? [1, ""];
    return `${Number((value / size).toPrecision(3))}${unit}`;
  };

  // Round steps between two numbers: 1, 2 or 5 times a power of ten.
  const ticks = (low, high, count) => {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const values = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) {
      values.push(Number((i * step).toPrecision(12)));
    }
    return values;
  };

  const logTicks = (low, high) => {
    const values = [];
    for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
      for (const value of [power, 2 * power, 5 * power]) if (value >= low && value <= high) values.push(value);
    }
    return values.length >= 2 ? values : [low, high];
  };

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector("script").textContent);
      this.stage = html("div", "stage", figure);
      this.svg = svg("svg", { role: "img", tabindex: "0" }, this.stage);
      this.tip = html("div", "tip", this.stage);
      this.tip.hidden = true;
      this.announcement = html("p", "announcement", figure);
      this.announcement.setAttribute("aria-live", "polite");
      this.svg.addEventListener("pointermove", (event) => this.onPointer(event));
      this.svg.addEventListener("pointerdown", (event) => this.onPointer(event));
      this.svg.addEventListener("pointerleave", () => this.hideTip());
      this.svg.addEventListener("keydown", (event) => this.onKey(event));
      this.svg.addEventListener("blur", () => this.hideTip());
      this.prepare();
      new ResizeObserver(() => this.draw()).observe(this.stage);
    }

    prepare() {}

    frame(xLabel, yLabel) {
      this.width = this.stage.clientWidth;
      if (!this.width) return false;
      this.height = Math.round(Math.min(380, Math.max(240, this.width * 0.56)));
      for (const [key, value] of Object.entries({ width: this.width, height: this.height, viewBox: `0 0 ${this.width} ${this.height}` })) this.svg.setAttribute(key, value);
      this.svg.replaceChildren();
      const { top, right, bottom, left } = MARGIN;
      this.box = { x0: left, x1: this.width - right, y0: this.height - bottom, y1: top };
      svg("text", { class: "label", x: (this.box.x0 + this.box.x1) / 2, y: this.height - 4, "text-anchor": "middle" }, this.svg, xLabel);
      svg("text", { class: "label", transform: `translate(11 ${(this.box.y0 + this.box.y1) / 2}) rotate(-90)`, "text-anchor": "middle" }, this.svg, yLabel);
      return true;
    }

    axes(xs, ys, xText = short, yText = short) {
      const { x0, x1, y0, y1 } = this.box;
      for (const y of ys) {
        svg("path", { class: "grid", d: `M${x0} ${this.y(y)}H${x1}` }, this.svg);
        svg("text", { class: "tick", x: x0 - 7, y: this.y(y) + 4, "text-anchor": "end" }, this.svg, yText(y));
      }
      for (const x of xs) {
        svg("path", { class: "grid", d: `M${this.x(x)} ${y0}V${y1}` }, this.svg);
        svg("text", { class: "tick", x: this.x(x), y: y0 + 16, "text-anchor": "middle" }, this.svg, xText(x));
      }
    }

    showTip(x, y, lines) {
      this.tip.replaceChildren();
      for (const [text, style, value] of lines) {
        const line = html("div", style ?? "", this.tip);
        html("bdi", "", line, text);
        if (value !== undefined) html("b", "", line, value);
      }
      this.tip.hidden = false;
      const maxLeft = this.stage.clientWidth - this.tip.offsetWidth;
      const left = x + 14 > maxLeft ? x - 14 - this.tip.offsetWidth : x + 14;
      this.tip.style.left = `${Math.max(0, Math.min(maxLeft, left))}px`;
      this.tip.style.top = `${Math.max(0, Math.min(this.height - this.tip.offsetHeight, y))}px`;
      this.announcement.textContent = this.svg.matches(":focus-visible") ? lines.map(([text, , value]) => `${text} ${value ?? ""}`).join("; ") : "";
    }

    hideTip() {
      this.tip.hidden = true;
      this.cursor?.remove();
    }

    onKey(event) {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
      if (step) { this.step(step); event.preventDefault(); }
      if (event.key === "Home") { this.step(-Infinity); event.preventDefault(); }
      if (event.key === "End") { this.step(Infinity); event.preventDefault(); }
      if (event.key === "Escape") this.hideTip();
    }

    pointerPosition(event) {
      const box = this.svg.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }
  }

  class Lines extends Chart {
    prepare() {
      const { series, shown } = this.data;
      this.colors = new Map();
      series.slice(0, shown).forEach((_, index) => this.colors.set(index, index));
      this.index = null;
      this.svg.setAttribute("aria-label", `${this.data.label}. ${this.data.y_label} against ${this.data.x_label}; arrow keys read the values.`);
      if (series.length === 1) return;
      this.legend = html("div", "legend", this.figure);
      this.legend.setAttribute("role", "group");
      this.legend.setAttribute("aria-label", "Curves shown");
      this.buttons = series.map((curve, index) => {
        const button = html("button", "key", this.legend);
        button.type = "button";
        html("i", "", button);
        html("bdi", "", button, curve.name);
        button.addEventListener("click", () => this.toggleCurve(index));
        button.addEventListener("pointerenter", () => this.highlight(index));
        button.addEventListener("focus", () => this.highlight(index));
        button.addEventListener("pointerleave", () => this.highlight(null));
        button.addEventListener("blur", () => this.highlight(null));
        return button;
      });
      if (series.length > shown) {
        this.buttons.slice(shown).forEach((button) => { button.hidden = true; });
        const more = html("button", "more", this.legend, `${series.length - shown} more`);
        more.type = "button";
        more.addEventListener("click", () => {
          this.buttons.forEach((button) => { button.hidden = false; });
          this.buttons[shown].focus();
          more.remove();
        });
      }
    }

    toggleCurve(index) {
      if (this.colors.has(index)) this.colors.delete(index);
      else {
        const used = new Set(this.colors.values());
        let free = 0;
        while (used.has(free)) free += 1;
        this.colors.set(index, free);
      }
      this.draw();
      this.highlight(index);
    }

    highlight(index) {
      for (const path of this.svg.querySelectorAll(".line")) path.classList.toggle("faded", index !== null && this.colors.has(index) && path.dataset.index !== String(index));
    }

    draw() {
      const { x, series, mark } = this.data;
      this.buttons?.forEach((button, index) => {
        button.setAttribute("aria-pressed", String(this.colors.has(index)));
        button.querySelector("i").className = this.colors.has(index) ? `color${this.colors.get(index) % NUM_COLORS}` : "";
      });
      if (!this.frame(this.data.x_label, this.data.y_label)) return;
      const values = [...this.colors.keys()].flatMap((index) => series[index].y);
      const { x0, x1, y0, y1 } = this.box;
      let low = 0;
      let high = this.data.y_max ?? 0;
      if (!this.data.y_max && values.length) {
        const [least, most] = [Math.min(...values), Math.max(...values)];
        const pad = (most - least || 1) * 0.06;
        [low, high] = [Math.max(0, least - pad), most + pad];
      }
      const [left, right] = [x[0], x.at(-1)];
      this.x = (value) => x0 + (x1 - x0) * (value - left) / (right - left);
      this.y = (value) => y0 + (y1 - y0) * (value - low) / (high - low);
      this.axes(ticks(left, right, Math.max(3, this.width / 90)).filter((tick) => this.data.y_max || Number.isInteger(tick)), ticks(low, high, 5));
      if (mark) {
        svg("path", { class: "mark", d: `M${this.x(mark)} ${y0}V${y1}` }, this.svg);
        svg("text", { class: "tick", x: this.x(mark) - 5, y: y0 - 8, "text-anchor": "end" }, this.svg, `threshold ${mark} %`);
      }
      for (const [index, color] of this.colors) {
        const points = series[index].y.map((value, i) => `${this.x(x[i]).toFixed(1)} ${this.y(value).toFixed(1)}`);
        const line = svg("path", { class: `line color${color % NUM_COLORS}`, d: `M${points.join("L")}` }, this.svg);
        line.dataset.index = index;
      }
      if (this.index !== null && document.activeElement === this.svg) this.showValues(this.index);
    }

    onPointer(event) {
      const [pointerX] = this.pointerPosition(event);
      const { x } = this.data;
      const value = x[0] + (x.at(-1) - x[0]) * (pointerX - this.box.x0) / (this.box.x1 - this.box.x0);
      let best = 0;
      x.forEach((sample, i) => { if (Math.abs(sample - value) < Math.abs(x[best] - value)) best = i; });
      this.showValues(best);
    }

    step(by) {
      const last = this.data.x.length - 1;
      const start = this.index ?? this.data.x.findIndex((sample) => sample >= (this.data.mark ?? this.data.x[0]));
      this.showValues(Math.max(0, Math.min(last, this.index === null && Number.isFinite(by) ? start : start + by)));
    }

    showValues(index) {
      this.index = index;
      const { x, series } = this.data;
      const { y0, y1 } = this.box;
      this.cursor?.remove();
      this.cursor = svg("g", { class: "cursor" }, this.svg);
      svg("path", { d: `M${this.x(x[index])} ${y0}V${y1}` }, this.cursor);
      const values = [...this.colors].map(([curve, color]) => [curve, color, series[curve].y[index]]).sort((a, b) => b[2] - a[2]);
      for (const [, color, value] of values) svg("circle", { class: `color${color % NUM_COLORS}`, r: 3.5, cx: this.x(x[index]), cy: this.y(value) }, this.cursor);
      const head = this.data.y_max ? `up to ${x[index].toFixed(2)} %` : `${this.data.x_name ?? "epoch"} ${x[index]}`;
      this.showTip(this.x(x[index]), y1 + 6, [
        [head, "head"],
        ...values.map(([curve, color, value]) => [series[curve].name, `color${color % NUM_COLORS}`, `${value.toFixed(this.data.unit === "" ? 0 : this.data.y_max ? 1 : 2)}${this.data.unit ?? " %"}`]),
      ]);
    }
  }

  class Scatter extends Chart {
    prepare() {
      this.cost = 0;
      this.selected = null;
      this.svg.setAttribute("aria-label", `${this.data.label}; arrow keys go from point to point, Enter opens one.`);
      if (this.data.costs.length > 1) {
        const group = html("div", "switch costs");
        group.setAttribute("role", "group");
        group.setAttribute("aria-label", "Cost");
        this.figure.querySelector("figcaption").append(group);
        this.buttons = this.data.costs.map((label, index) => {
          const button = html("button", "", group, label);
          button.type = "button";
          button.addEventListener("click", () => { this.cost = index; this.selected = null; this.hideTip(); this.draw(); });
          return button;
        });
      }
      this.svg.addEventListener("click", () => { if (this.selected !== null) this.openEntry(); });
      if (this.data.left_out) html("p", "faint", this.figure, `The ${this.data.points.length.toLocaleString("en")} best rows; ${this.data.left_out.toLocaleString("en")} are in the table only.`);
    }

    // The address is a page of the site, never one that an entry names.
    openEntry() {
      location.assign(this.shown[this.selected].href);
    }

    draw() {
      this.buttons?.forEach((button, index) => button.setAttribute("aria-pressed", String(index === this.cost)));
      if (!this.frame(this.data.costs[this.cost], this.data.y_label)) return;
      this.shown = this.data.points.filter((point) => point.cost[this.cost] !== null).sort((a, b) => a.cost[this.cost] - b.cost[this.cost] || a.error - b.error);
      if (!this.shown.length) return;
      const { x0, x1, y0, y1 } = this.box;
      const costs = this.shown.map((point) => point.cost[this.cost]);
      const [cheap, expensive] = [Math.min(...costs) / 1.25, Math.max(...costs) * 1.25];
      // A few rows far off must not squeeze the others: they are drawn hollow at the edge.
      const errors = this.shown.map((point) => point.error);
      const least = Math.min(...this.shown.map((point) => point.low ?? point.error));
      const most = Math.min(Math.max(...errors), 2 * Math.min(...errors));
      const pad = (most - least || 1) * 0.08;
      const [low, high] = [Math.max(0, least - pad), most + pad];
      this.x = (value) => x0 + (x1 - x0) * Math.log(value / cheap) / Math.log(expensive / cheap);
      this.y = (value) => y0 + (y1 - y0) * (Math.min(value, high) - low) / (high - low);
      this.axes(this.dropCloseTicks(logTicks(cheap, expensive)), ticks(low, high, 5));
      const front = this.shown.filter((point) => point.front[this.cost]);
      if (front.length) {
        let path = `M${this.x(front[0].cost[this.cost])} ${this.y(front[0].error)}`;
        for (const point of front.slice(1)) path += `H${this.x(point.cost[this.cost])}V${this.y(point.error)}`;
        svg("path", { class: "front", d: path }, this.svg);
      }
      this.shown.forEach((point, index) => {
        const [cx, cy] = [this.x(point.cost[this.cost]), this.y(point.error)];
        if (point.low !== null && point.front[this.cost]) svg("path", { class: "whisker", d: `M${cx} ${this.y(point.low)}V${this.y(point.high)}` }, this.svg);
        const dot = svg("circle", { class: `dot${point.front[this.cost] ? " best" : ""}${point.error > high ? " beyond" : ""}`, cx, cy, r: point.front[this.cost] ? 5 : 3.5 }, this.svg);
        dot.dataset.index = index;
      });
    }

    dropCloseTicks(values) {
      const kept = [];
      for (const value of values) if (!kept.length || this.x(value) - this.x(kept.at(-1)) > 44) kept.push(value);
      return kept;
    }

    onPointer(event) {
      const [x, y] = this.pointerPosition(event);
      let [best, distance] = [null, 30];
      this.shown.forEach((point, index) => {
        const away = Math.hypot(this.x(point.cost[this.cost]) - x, this.y(point.error) - y);
        if (away < distance) [best, distance] = [index, away];
      });
      if (best === null) { this.selected = null; this.hideTip(); } else this.select(best);
    }

    step(by) {
      this.select(Math.max(0, Math.min(this.shown.length - 1, (this.selected ?? (by > 0 ? -1 : 1)) + by)));
    }

    onKey(event) {
      if (event.key === "Enter" && this.selected !== null) this.openEntry();
      else super.onKey(event);
    }

    select(index) {
      this.selected = index;
      const point = this.shown[index];
      const [x, y] = [this.x(point.cost[this.cost]), this.y(point.error)];
      this.cursor?.remove();
      this.cursor = svg("circle", { class: "cursor", cx: x, cy: y, r: 9 }, this.svg);
      const interval = point.low === null ? "" : ` (${point.low.toFixed(2)}–${point.high.toFixed(2)})`;
      this.showTip(x, y + 10, [
        [point.name, "head"],
        ["error", "", `${point.error.toFixed(2)} %${interval}`],
        [this.data.costs[this.cost].toLowerCase(), "", short(point.cost[this.cost])],
        ...(point.front[this.cost] ? [["on the Pareto front", ""]] : []),
      ]);
    }
  }

  globalThis.drawCharts = (root) => {
    for (const figure of root.querySelectorAll("figure.chart:not([data-drawn])")) {
      figure.dataset.drawn = "true";
      new { lines: Lines, scatter: Scatter }[JSON.parse(figure.querySelector("script").textContent).kind](figure);
    }
  };
  globalThis.drawCharts(document);
}
