"use strict";
// The table is the data: what the scatter plot shows is read from its cells.
const get = id => document.getElementById(id);
const table = get("recordings"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
const names = heads.map(head => head.textContent), isWords = heads.map((head, i) => !i || "words" in head.dataset);
const items = [...body.rows].map((row, place) => {
  const text = [...row.cells].map(cell => cell.textContent);
  return {
    row, place, text, name: text[0], values: text.map(t => parseFloat(t)), // "n/a" becomes NaN
    page: row.cells[0].querySelector("a")?.getAttribute("href"),
    refused: row.classList.contains("r"), marked: row.classList.contains("m"), shown: true,
  };
});
const key = (item, column) => isWords[column] ? item.text[column] : item.values[column];

// --- links that other pages make: #NAME goes to its row, #after=NAME and #before=NAME to the next one's page
function follow() {
  const [, verb, name] = decodeURIComponent(location.hash).match(/^#(after=|before=)?(.*)$/) || [];
  if (!name || document.getElementById(name)) return;
  const pages = items.filter(item => item.page).sort((a, b) => a.name < b.name ? -1 : 1);
  const here = pages.findIndex(item => item.name === name), item = items.find(one => one.name === name);
  if (verb && here >= 0) {
    const step = verb === "after=" ? 1 : -1;
    location.replace(pages[(here + step + pages.length) % pages.length].page);
  } else if (item) {
    for (const row of body.querySelectorAll(".here")) row.classList.remove("here");
    item.row.classList.add("here");
    item.row.scrollIntoView({ block: "center" });
  }
}

// --- sorting: numbers start with the largest, words with the first
function sort(column) {
  const before = heads[column].getAttribute("aria-sort"), first = isWords[column] ? "ascending" : "descending";
  const order = before !== first ? first : first === "ascending" ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const keyed = items.map(item => [key(item, column), item.row]);
  keyed.sort(([a], [b]) => a === b ? 0 : a !== a ? 1 : b !== b ? -1 : sign * (a < b ? -1 : 1)); // NaN last
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", order);
  body.append(...keyed.map(([, row]) => row));
}

// --- filters
function passes(item) {
  const wanted = get("find").value.trim().toLowerCase(), status = get("status").value;
  if (wanted && !item.text.some((text, i) => isWords[i] && text.toLowerCase().includes(wanted))) return false;
  if (status === "m" && !item.marked || status === "n" && item.marked || status === "r" && !item.refused) return false;
  const column = get("column").value, value = get("value").value.trim(), compare = get("compare").value;
  if (column === "" || value === "") return true;
  if (compare === ">") return item.values[column] >= parseFloat(value);
  if (compare === "<") return item.values[column] <= parseFloat(value);
  return isWords[column] ? item.text[column] === value : item.values[column] === parseFloat(value);
}
function filter() {
  let left = 0;
  for (const item of items) {
    item.shown = passes(item);
    item.row.classList.toggle("away", !item.shown);
    left += item.shown;
  }
  get("count").textContent = left < items.length ? `${left} of ${items.length}` : "";
  draw();
}
function offerValues() {
  const column = get("column").value, offered = column !== "" && isWords[column]
    ? [...new Set(items.map(item => item.text[column]))].sort().slice(0, 200) : [];
  get("values").replaceChildren(...offered.map(text => new Option(text)));
  get("compare").value = column !== "" && !isWords[column] ? ">" : "=";
  get("value").value = "";
  filter();
}

// --- scatter plot. Colours of groups: Okabe and Ito (2008), then grey; of numbers: from yellow to blue
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a800"], GREY = "#888888";
const canvas = get("dots"), tip = get("tip"), PAD = { left: 64, right: 16, top: 12, bottom: 40 };
let dots = [];
function ticks(low, high) { // about five round numbers
  const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough), out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(Number((i * step).toPrecision(10)));
  return out;
}
function range(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const room = (high - low) * .04 || Math.abs(high) * .04 || 1;
  return values.length ? [low - room, high + room] : [0, 1];
}
function colours(column) {
  if (column === "") return { of: () => PALETTE[0], legend: [] };
  if (isWords[column]) {
    const count = new Map();
    for (const item of items) count.set(item.text[column], (count.get(item.text[column]) || 0) + 1);
    const order = [...count].sort((a, b) => b[1] - a[1]).map(([text]) => text);
    const legend = order.slice(0, PALETTE.length).map((text, i) => [PALETTE[i], text]);
    if (order.length > PALETTE.length) legend.push([GREY, `${order.length - PALETTE.length} more`]);
    const of = new Map(order.map((text, i) => [text, PALETTE[i] || GREY]));
    return { of: item => of.get(item.text[column]), legend };
  }
  const [low, high] = range(items.map(item => item.values[column]).filter(v => v === v));
  const shade = v => {
    const t = Math.min(Math.max((v - low) / (high - low), 0), 1), mix = (a, b) => Math.round(a + t * (b - a));
    return v === v ? `rgb(${mix(240, 0)}, ${mix(200, 60)}, ${mix(40, 150)})` : GREY;
  };
  return { of: item => shade(item.values[column]), legend: ticks(low, high).map(v => [shade(v), String(v)]) };
}
function place(values, column) { // where values are along an axis: numbers, or the number of the word
  if (!isWords[column]) return { of: item => item.values[column], words: null };
  const words = [...new Set(values.map(item => item.text[column]))].sort();
  const of = new Map(words.map((text, i) => [text, i]));
  // side by side, without chance
  return { of: item => of.get(item.text[column]) + (item.place * .618 % 1 - .5) * .5, words };
}
function draw() {
  const wide = canvas.clientWidth, high = 420, scale = devicePixelRatio || 1;
  canvas.width = wide * scale;
  canvas.height = high * scale;
  const pen = canvas.getContext("2d"), x = Number(get("x").value), y = Number(get("y").value);
  const known = items.filter(item => !item.refused), across = place(known, x), up = place(known, y);
  const all = known.map(item => ({ item, x: across.of(item), y: up.of(item) })).filter(d => d.x === d.x && d.y === d.y);
  const [left, right] = range(all.map(d => d.x)), [bottom, top] = range(all.map(d => d.y));
  const toX = v => PAD.left + (v - left) / (right - left) * (wide - PAD.left - PAD.right);
  const toY = v => high - PAD.bottom - (v - bottom) / (top - bottom) * (high - PAD.top - PAD.bottom);
  const colour = colours(get("colour").value === "" ? "" : Number(get("colour").value));
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = "#5c5c5c";
  pen.strokeStyle = "#e3e3e3";
  const cut = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;
  pen.textAlign = "center";
  const marksX = across.words ? across.words.map((text, i) => [i, cut(text, 12)]) : ticks(left, right).map(v => [v, String(v)]);
  const every = Math.ceil(marksX.length / (wide / 80));
  for (const [v, text] of marksX.filter((_, i) => i % every === 0)) {
    line(toX(v), PAD.top, toX(v), high - PAD.bottom);
    pen.fillText(text, toX(v), high - PAD.bottom + 15);
  }
  pen.textAlign = "right";
  const marksY = up.words ? up.words.map((text, i) => [i, cut(text, 8)]) : ticks(bottom, top).map(v => [v, String(v)]);
  for (const [v, text] of marksY.filter((_, i) => i % Math.ceil(marksY.length / 20) === 0)) {
    line(PAD.left, toY(v), wide - PAD.right, toY(v));
    pen.fillText(text, PAD.left - 6, toY(v) + 4);
  }
  pen.fillStyle = "#222";
  pen.textAlign = "center";
  pen.fillText(names[x], (PAD.left + wide) / 2, high - 6);
  pen.save();
  pen.translate(12, high / 2 - 10);
  pen.rotate(-Math.PI / 2);
  pen.fillText(names[y], 0, 0);
  pen.restore();
  dots = all.filter(d => d.item.shown).map(d => ({ item: d.item, x: toX(d.x), y: toY(d.y) }));
  const size = dots.length > 1000 ? 2.5 : 4;
  for (const dot of dots) {
    pen.fillStyle = colour.of(dot.item);
    pen.globalAlpha = dots.length > 500 ? .6 : .85;
    circle(dot, size);
    pen.fill();
    if (dot.item.marked) {
      pen.globalAlpha = 1;
      pen.strokeStyle = "#222";
      circle(dot, size + 1.5);
      pen.stroke();
    }
  }
  get("legend").replaceChildren(...colour.legend.map(([shade, text]) => {
    const entry = document.createElement("span"), spot = document.createElement("i");
    spot.style.background = shade;
    entry.append(spot, text);
    return entry;
  }));
  function line(a, b, c, d) { pen.beginPath(); pen.moveTo(a, b); pen.lineTo(c, d); pen.stroke(); }
  function circle(dot, r) { pen.beginPath(); pen.arc(dot.x, dot.y, r, 0, 7); }
}
function nearest(event) {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = 12 ** 2; // pixels
  for (const dot of dots) {
    const away = (dot.x - x) ** 2 + (dot.y - y) ** 2;
    if (away < least) [best, least] = [dot, away];
  }
  return best;
}
canvas.addEventListener("mousemove", event => {
  const dot = nearest(event);
  tip.hidden = !dot;
  canvas.style.cursor = dot && dot.item.page ? "pointer" : "default";
  if (!dot) return;
  const shown = [get("x").value, get("y").value, get("colour").value].filter((v, i, a) => v !== "" && a.indexOf(v) === i);
  tip.textContent = [dot.item.name, ...shown.map(i => `${names[i]} ${dot.item.text[i]}`)].join("\n");
  const room = canvas.clientWidth - tip.offsetWidth;
  tip.style.left = `${Math.max(0, Math.min(dot.x + 10, room))}px`;
  tip.style.top = `${dot.y < 80 ? dot.y + 12 : dot.y - 12 - tip.offsetHeight}px`;
});
canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
canvas.addEventListener("click", event => {
  const dot = nearest(event);
  if (dot && dot.item.page) location.href = dot.item.page;
});

// --- start
const columns = names.map((name, i) => [name, i]).slice(1);
for (const id of ["x", "y", "colour", "column"])
  get(id).append(...(id === "colour" ? [["nothing", ""]] : []).concat(columns).map(([name, i]) => new Option(name, i)));
const first = (...wanted) => columns.find(([name]) => wanted.includes(name))?.[1];
get("x").value = first("mean_fd_mm") ?? columns[0][1];
get("y").value = first("median_tsnr") ?? columns[1][1];
get("colour").value = columns.find(([, i]) => isWords[i] && new Set(items.map(item => item.text[i])).size > 1)?.[1] ?? "";
heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(column)));
for (const id of ["find", "value"]) get(id).addEventListener("input", filter);
for (const id of ["status", "compare"]) get(id).addEventListener("change", filter);
get("column").addEventListener("change", offerValues);
for (const id of ["x", "y", "colour"]) get(id).addEventListener("change", draw);
addEventListener("resize", draw);
addEventListener("hashchange", follow);
draw();
follow();
