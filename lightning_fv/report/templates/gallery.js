"use strict";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const natural = new Intl.Collator("en", { numeric: true });
const controls = ["layer", "status", "network", "verdict", "among"];

/** A new element; texts among its children stay text. */
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function layerOf(target) {
  const head = target.split(":", 1)[0];
  if (head.includes("(")) return "objective";
  return head === "probability" ? "logits" : head;
}

function unitOf(target, layer) {
  if (target === layer) return "whole layer";
  return target.startsWith(layer + ":") ? target.slice(layer.length + 1) : target;
}

const plain = (name) => name.replace(/_/g, " ");

function digits(value, count = 6) {
  if (value === null) return "–";
  return typeof value === "number" ? String(Number(value.toPrecision(count))) : value;
}

const names = new Set(); // of pictures, in their links

/** A picture's link, by what another render of it keeps: network and target, then the number of one of several, `~2`. Where an earlier run has
 *  that picture too, the run's name stands behind it, `@run`. */
function linkOf(network, id, facet, run) {
  const unit = facet && id.endsWith(`-${facet}`) ? id.slice(0, -`-${facet}`.length) : id;
  const name = [...network.split("/"), unit].map(encodeURIComponent).join("/") + (facet > 1 ? `~${facet}` : "");
  const link = names.has(name) ? `#${name}@${encodeURIComponent(run)}` : `#${name}`;
  names.add(name);
  return link;
}

{% include "evidence.js" %}

// -- the pictures

const items = data.rows.map(([run, kind, job, place, id, named, facet, seconds, image, score, ...values], number) => {
  const [network, status, height, width, steps, seed] = data.kinds[kind];
  const { name, url, recipe } = data.runs[run];
  const layer = layerOf(named);
  const suffix = facet ? ` #${facet}` : "";
  const target = named + suffix;
  const scores = Object.fromEntries(data.scores.map((name, column) => [name, values[column]]).filter(([, value]) => value !== null));
  const evidence = evidenceOf(number, url);
  return {
    number, id, target, evidence, verdict: evidence?.words ?? NOT_EVALUATED, layer, network, status, recipe, place, run: name, unit: unitOf(named, layer) + suffix,
    best: scores.rank === 1, among: facet && scores.rank !== 1 ? "others" : "highest of each",
    hash: linkOf(network, id, facet, name),
    order: id.replace(/^probability-/, "logits-"),
    image: image === null ? null : url + (image === 1 ? `images/${id}.png` : image),
    film: job < 0 ? null : data.jobs[job],
    scores: { score, ...scores, ...evidence?.scores },
    facts: { network, run: name, size: `${height} × ${width}`, steps: String(steps), seed, seconds },
    words: [target, network, name, status].join("\n").toLowerCase(),
  };
});
const byHash = new Map(items.map((item) => [decodeURIComponent(item.hash), item]));
const several = { run: data.runs.length > 1, network: new Set(items.map((item) => item.network)).size > 1 };
const named = new Set(["score", ...data.scores, ...(data.evidence ? ORDERED : [])]);
const numeric = [...named].filter((name) => name === "score" || (name !== "rank" && items.some((item) => typeof item.scores[name] === "number")));

let shown = []; // in the order on the page
let current = null; // of the thumbnails, the one that Tab comes to; the one in the detail view

// -- thumbnails

function numbersOf(item, sort) {
  if (item.image === null) return "";
  const chosen = sort in item.scores && sort !== "score" ? [sort] : ["probability", "photo_multiple"];
  const usable = (name) => typeof item.scores[name] === "number" && (name === sort || name !== "photo_multiple" || item.scores[name] >= 0);
  const second = chosen.find(usable); // a negative multiple says nothing
  const value = item.scores[second];
  const short = { probability: () => `p ${value.toFixed(2)}`, photo_multiple: () => `x${digits(value, 2)}` }; // as in the contact sheet
  const told = second === undefined ? "" : (short[second]?.() ?? `${plain(second)} ${digits(value, 3)}`);
  return [digits(item.scores.score, 4), told, item.best ? "highest" : ""].filter(Boolean).join(" · ");
}

const absent = (text) => make("span", { className: "none" }, text);

function pictureOf(item, properties) {
  if (item.image === null) return absent("no picture");
  const image = make("img", { alt: `Picture of ${item.target}`, decoding: "async", ...properties });
  image.addEventListener("error", () => image.replaceWith(absent("file missing")));
  image.src = item.image;
  return image;
}

const badge = (item) => (item.status === "done" ? "" : make("span", { className: "badge" }, item.status));

for (const item of items) {
  item.name = make("span", { className: "name" });
  item.numbers = make("span", { className: "numbers" });
  item.link = make(
    "a",
    { href: item.hash, title: item.target, tabIndex: -1 },
    make("span", { className: "picture" }, pictureOf(item, { loading: "lazy" }), badge(item)),
    insetOf(item.evidence),
    item.name,
    item.numbers,
    markOf(item.evidence),
    several.run ? make("span", { className: "run" }, item.run) : "",
  );
  item.link.item = item;
  item.cell = make("li", {}, item.link);
}

// -- sorting and filtering

const highest = (name) => (a, b) => {
  const [x, y] = [a.scores[name], b.scores[name]].map((value) => (typeof value === "number" ? value : -Infinity));
  return (y > x) - (y < x) || a.number - b.number;
};
const orders = {
  manifest: (a, b) => a.number - b.number,
  name: (a, b) => natural.compare(a.target, b.target) || a.number - b.number,
  unit: (a, b) =>
    natural.compare(a.network, b.network) || natural.compare(a.layer, b.layer) || natural.compare(a.order, b.order) || a.number - b.number,
};

let groups = [];
let sorted = [];

/** Put the thumbnails in order, below a heading for each network and layer. */
function arrange() {
  const sort = byId("sort").value;
  const grouped = byId("grouped").checked;
  sorted = [...items].sort(orders[sort] ?? highest(sort));
  const parts = new Map();
  for (const item of sorted) {
    const key = grouped ? JSON.stringify([item.network, item.layer]) : "";
    if (!parts.has(key)) parts.set(key, []);
    parts.get(key).push(item);
    item.name.textContent = grouped ? item.unit : item.target;
    item.numbers.textContent = numbersOf(item, sort);
  }
  sorted = [...parts.values()].flat();
  groups = [...parts.values()].map((members) => {
    const count = make("span");
    const title = (several.network ? `${members[0].network} · ` : "") + members[0].layer;
    const heading = make("h2", {}, grouped ? title : "All targets", count);
    const list = make("ul", {}, ...members.map((item) => item.cell));
    return { members, count, section: make("section", { ariaLabel: grouped ? title : "All targets" }, heading, list) };
  });
  byId("groups").replaceChildren(...groups.map((group) => group.section));
  select();
}

/** Hide what does not fit the filters. */
function select() {
  const words = byId("filter").value.toLowerCase().split(/\s+/);
  const chosen = controls.map((name) => [name, byId(name).value]).filter(([, value]) => value !== "");
  const fits = (item) => words.every((word) => item.words.includes(word)) && chosen.every(([name, value]) => item[name] === value);
  shown = sorted.filter((item) => !(item.cell.hidden = !fits(item)));
  for (const { members, count, section } of groups) {
    const left = members.filter((item) => !item.cell.hidden).length;
    count.textContent = left === members.length ? left : `${left} of ${members.length}`;
    section.hidden = left === 0;
  }
  const network = several.network || !items.length ? "" : ` of ${items[0].network}`;
  byId("count").textContent = `${shown.length} of ${items.length} ${items.length === 1 ? "target" : "targets"}${network}`;
  byId("nothing").hidden = shown.length > 0;
  if (!shown.includes(current)) mark(shown[0] ?? null);
}

function mark(item) {
  if (current) current.link.tabIndex = -1;
  current = item;
  if (current) current.link.tabIndex = 0;
}

// -- detail view

const dialog = byId("detail");
let entered = false; // by a link on this page, so that the way out is back

function show(item) {
  mark(item);
  const place = shown.indexOf(item);
  byId("place").textContent = place < 0 ? "" : `${place + 1} of ${shown.length}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place === shown.length - 1;
  byId("target").textContent = item.target;
  byId("shown").replaceChildren(pictureOf(item));
  byId("file").parentNode.hidden = item.image === null;
  byId("file").href = item.image ?? "";
  const above = { ...item.evidence?.scores, ...item.evidence?.faithful, ...item.evidence?.plausible };
  const told = Object.entries({ ...item.scores, ...item.facts }).filter(([name]) => !(name in above));
  const facts = told.map(([name, value]) => [plain(name), digits(value)]);
  const rows = [["target", item.target], ["status", badge(item) || item.status], ...facts];
  byId("facts").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  byId("made").hidden = item.recipe === null;
  byId("recipe").textContent = item.recipe ?? "";
  showEvidence(item);
  showGrowth(item);
  if (dialog.open) return;
  dialog.showModal();
  dialog.focus();
}

function showGrowth(item) {
  byId("growth").hidden = item.film === null;
  byId("strip").replaceChildren();
  if (item.film === null) return;
  const [run, url, count, steps] = item.film;
  for (const step of steps) {
    const canvas = make("canvas", { role: "img", ariaLabel: `${item.target} after ${step} steps` });
    const cell = make("li", {}, canvas, String(step));
    const frame = make("img", { alt: "" });
    frame.addEventListener("load", () => crop(frame, canvas, count, item.place) || cell.remove());
    frame.addEventListener("error", () => cell.remove());
    frame.src = `${data.runs[run].url}${url}/frames/${String(step).padStart(8, "0")}.jpg`;
    byId("strip").append(cell);
  }
}

/** Draw one picture of a grid by torchvision's make_grid: 2 px around each, none around a single one. */
function crop(frame, canvas, count, place) {
  const columns = Math.max(1, Math.round(Math.sqrt(count) + 0.49));
  const rows = Math.ceil(count / columns);
  const gap = count === 1 ? 0 : 2;
  const width = (frame.naturalWidth - gap) / Math.min(columns, count) - gap;
  const height = (frame.naturalHeight - gap) / rows - gap;
  if (!Number.isInteger(width) || !Number.isInteger(height)) return false; // a grid of another make
  [canvas.width, canvas.height] = [width, height];
  const [x, y] = [place % columns, Math.floor(place / columns)];
  canvas.getContext("2d").drawImage(frame, gap + x * (width + gap), gap + y * (height + gap), width, height, 0, 0, width, height);
  return true;
}

function leave() {
  if (entered) history.back();
  else location.replace("#");
}

/** The picture of a link; of one made where there were more pictures of its target, the first of that target. */
function itemOf(hash) {
  const alone = hash.replace(/@[^@]*$/, "");
  return byHash.get(hash) ?? byHash.get(alone) ?? byHash.get(alone.replace(/~\d+$/, ""));
}

function route() {
  let hash = location.hash;
  try {
    hash = decodeURIComponent(hash);
  } catch {
    // not one of ours
  }
  const item = itemOf(hash);
  if (item && !(dialog.open && item === current)) show(item);
  if (!item && dialog.open) {
    const seen = current;
    dialog.close(); // gives the focus back to the thumbnail that was opened
    goTo(seen);
  }
}

function turn(by) {
  const item = shown[shown.indexOf(current) + by];
  if (!item) return;
  location.replace(item.hash);
  show(item);
}

// -- keyboard

function goTo(item) {
  if (!item) return;
  mark(item);
  item.link.focus({ preventScroll: true });
  item.cell.scrollIntoView({ block: "nearest" });
}

/** The thumbnail above or below, or next to it where rows end. */
function beside(key) {
  const from = shown.indexOf(current);
  const by = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
  if (key === "ArrowLeft" || key === "ArrowRight") return shown[from + by];
  const box = (item) => item.cell.getBoundingClientRect();
  const { top, left } = box(current);
  let index = from;
  while (shown[index] && box(shown[index]).top === top) index += by;
  const row = shown[index] && box(shown[index]).top;
  let best = shown[index];
  for (; shown[index] && box(shown[index]).top === row; index += by) {
    if (Math.abs(box(shown[index]).left - left) < Math.abs(box(best).left - left)) best = shown[index];
  }
  return best;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { key, target } = event;
  const actions = {};
  if (dialog.open) {
    Object.assign(actions, { ArrowLeft: () => turn(-1), ArrowRight: () => turn(1), Escape: leave });
  } else if (target === current?.link || target === document.body) {
    const move = () => goTo(beside(key));
    Object.assign(actions, { ArrowLeft: move, ArrowRight: move });
    if (target !== document.body) {
      Object.assign(actions, { ArrowUp: move, ArrowDown: move, Home: () => goTo(shown[0]), End: () => goTo(shown[shown.length - 1]) });
    }
  } else if (target === byId("filter")) {
    actions.ArrowDown = () => goTo(current);
  }
  if (!dialog.open && !target.closest("input, select")) actions["/"] = () => byId("filter").select();
  if (!actions[key]) return;
  event.preventDefault();
  actions[key]();
});

// -- start

for (const name of numeric) byId("scores").append(make("option", { value: name }, data.evidence && name in titles ? titles[name] : plain(name)));
for (const name of controls) {
  const values = [...new Set(items.map((item) => item[name]))];
  byId(name).append(...values.map((value) => make("option", { value }, value)));
  byId(name).parentNode.hidden = values.length < 2;
  byId(name).addEventListener("change", select);
}
if (several.run) byId("sort").value = "unit";
byId("sort").addEventListener("change", arrange);
byId("grouped").addEventListener("change", arrange);
byId("filter").addEventListener("input", select);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("groups").addEventListener("focusin", (event) => event.target.item && mark(event.target.item));
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
byId("close").addEventListener("click", leave);
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  leave();
});
window.addEventListener("hashchange", () => {
  if (!dialog.open) entered = true;
  route();
});
showSummary();
arrange();
route();
