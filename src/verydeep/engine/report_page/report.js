"use strict";
(() => {
  const CARDS = 60;
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const count = (items) => items.length.toLocaleString("en");
  const words = (number) => data.classes[number];
  const filters = ["outcome", "label", "prediction", "least", "most", "order"].map($);
  const [outcome, label, prediction, least, most, order] = filters;
  let current = 0; // evaluation
  let found = []; // its photographs that pass the filters
  let [shown, open] = [0, 0]; // cards on the page; photograph in the viewer
  let mapShown = ""; // place of the score map that is laid over it: "0" for the predicted class

  /* A photograph of an evaluation, as the page holds it: see content.py. */
  const read = ([photo, trueClass, right, score, classes, scores, box, annotations, doubt, shows]) => ({
    photo, trueClass, right, score, classes, scores, box, annotations, doubt, shows,
    isFalse: Boolean(shows) && !shows.includes(trueClass),
    predicted: box || shows || !classes.length ? trueClass : classes[0],
  });
  const evaluations = data.evaluations.map((each) => ({ ...each, records: each.photographs.map(read) }));
  for (const each of evaluations) each.byPhoto = new Map(each.records.map((record) => [record.photo, record]));

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function scoreText(score, kind = evaluations[current].kind) {
    if (kind === "probability") return `${Math.round(1000 * score) / 10}%`;
    return kind === "IoU" ? `IoU ${score.toFixed(2)}` : `${score < 0 ? "" : "+"}${score.toFixed(2)}`;
  }

  function describe(record) {
    if (record.box) return `${words(record.trueClass)}, ${scoreText(record.score)}`;
    if (record.isFalse) return `no ${words(record.trueClass)} ${scoreText(record.score)}`;
    return `${words(record.predicted)} ${scoreText(record.score)}`;
  }

  /* Filters */

  const setOptions = (select, options) =>
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, textContent: text })));

  function setFilters() {
    const { records, kind, several } = evaluations[current];
    const choices = [["all", "all"], ["wrong", "mistakes"], ["right", several ? "found" : "right"]];
    if (several) choices.push(["missed", "missed"], ["false", "false alarms"]);
    if (records.some((each) => each.doubt)) choices.push(["doubt", "doubtful labels"]);
    evaluations.forEach((each, number) => {
      if (number !== current && records.some((record) => each.byPhoto.has(record.photo)))
        choices.push([number, `different from ${each.title}`]);
    });
    setOptions(outcome, choices);
    for (const [select, key] of [[label, "trueClass"], [prediction, "predicted"]]) {
      const counts = new Map();
      for (const record of records) counts.set(record[key], (counts.get(record[key]) || 0) + 1);
      const names = [...counts].sort(([a], [b]) => words(a).localeCompare(words(b)));
      setOptions(select, [["", "any"], ...names.map(([number, count]) => [number, `${words(number)} (${count})`])]);
    }
    prediction.parentElement.hidden = kind === "IoU" || several;
    document.querySelector("label[for=label]").textContent = several ? "Class" : "True class";
    $("score-title").textContent = { probability: "Confidence, %", margin: "Margin", IoU: "IoU" }[kind];
    resetFilters();
  }

  function resetFilters() {
    const { records, kind } = evaluations[current];
    outcome.value = records.some((each) => !each.right) ? "wrong" : "all";
    label.value = prediction.value = least.value = most.value = "";
    order.value = kind === "IoU" ? "1" : "-1";
  }

  function passes(record) {
    const factor = evaluations[current].kind === "probability" ? 100 : 1;
    const { right, doubt, isFalse } = record;
    const outcomes = { wrong: !right, right, doubt, false: isFalse, missed: !right && !isFalse };
    if (outcome.value in outcomes && !outcomes[outcome.value]) return false;
    if (/^\d/.test(outcome.value)) {
      const other = evaluations[outcome.value].byPhoto.get(record.photo);
      if (!other || (other.predicted === record.predicted && other.right === record.right)) return false;
    }
    if (label.value !== "" && record.trueClass !== Number(label.value)) return false;
    if (prediction.value !== "" && record.predicted !== Number(prediction.value)) return false;
    if (least.value !== "" && factor * record.score < Number(least.value)) return false;
    return most.value === "" || factor * record.score <= Number(most.value);
  }

  function compare(one, other) {
    if (outcome.value === "doubt" && order.value === "-1") return one.doubt - other.doubt;
    if (order.value === "0") return data.photographs[one.photo].localeCompare(data.photographs[other.photo]);
    return Number(order.value) * (one.score - other.score);
  }

  function filter() {
    found = evaluations[current].records.filter(passes).sort(compare);
    shown = 0;
    $("cards").replaceChildren();
    const [total, without] = [evaluations[current].records, found.filter((each) => !data.thumbnails[each.photo])];
    const missing = without.length ? `; ${count(without)} of them have no picture on this page` : "";
    const noun = evaluations[current].several ? "classes on photographs" : "photographs";
    $("status").textContent = `${count(found)} of ${count(total)} ${noun}${missing}.`;
    showMore();
  }

  /* Cards */

  function makeImage(record, className) {
    const thumbnail = data.thumbnails[record.photo];
    if (!thumbnail) return make("span", { className: `${className} none`, textContent: "no picture" });
    const [uri, width, height] = thumbnail;
    const image = make("img", { src: uri, alt: "", decoding: "async" });
    const holder = make("span", { className }, image);
    if (record.box) holder.append(drawBoxes(record, width, height));
    return holder;
  }

  function draw(tag, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  function drawBoxes(record, width, height) {
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const add = ([left, top, right, bottom], name) =>
      svg.append(draw("rect", { class: name, x: left, y: top, width: right - left + 1, height: bottom - top + 1 }));
    for (const box of record.annotations || []) add(box, "annotated");
    add(record.box, "predicted");
    return svg;
  }

  function truthText(record) {
    if (record.shows) return record.isFalse ? `shows: ${record.shows.map(words).join(", ") || "no class"}` : "";
    return record.right || record.box ? "" : `true: ${words(record.trueClass)}`;
  }

  function makeCard(record, index) {
    const file = data.photographs[record.photo];
    const verdict = make("span", { className: record.right ? "verdict right" : "verdict wrong" },
      make("span", { textContent: record.right ? "✓ " : "✗ ", ariaHidden: "true" }),
      make("span", { className: "hidden", textContent: record.right ? "right: " : "wrong: " }), describe(record));
    const name = make("span", { className: "file", textContent: file.split("/").pop(), title: file });
    const button = make("button", { type: "button" }, makeImage(record, "frame"), verdict,
      make("span", { className: "truth", textContent: truthText(record) }), name);
    button.addEventListener("click", () => view(index));
    return make("li", {}, button);
  }

  function showMore() {
    const next = found.slice(shown, shown + CARDS);
    $("cards").append(...next.map((record, place) => makeCard(record, shown + place)));
    shown += next.length;
    $("more").hidden = shown >= found.length;
    $("more").textContent = `Show ${Math.min(CARDS, found.length - shown)} more`;
  }

  /* Viewer */

  function view(index) {
    open = index;
    const record = found[index];
    $("viewer-title").textContent = [describe(record), truthText(record)].filter(Boolean).join(", ");
    $("path").textContent = data.photographs[record.photo];
    $("picture").replaceChildren(makeImage(record, "large"));
    const largest = Math.max(...record.scores.map(Math.abs), 1e-9);
    $("guesses").replaceChildren(...record.classes.map((number, place) => {
      const bar = make("span", { className: "amount" });
      bar.style.width = `${(100 * Math.max(0, record.scores[place])) / (largest > 1 ? largest : 1)}%`;
      const kind = record.box ? "margin" : evaluations[current].kind;
      const isTrue = record.shows?.includes(number) ?? number === record.trueClass;
      return make("li", { className: isTrue ? "true" : "" },
        make("span", { textContent: words(number) + (isTrue ? " (true)" : "") }),
        make("span", { className: "number", textContent: scoreText(record.scores[place], kind) }), bar);
    }));
    $("box-words").textContent = record.box ? "Dashed: annotation. Solid: predicted box of the true class." : "";
    $("others").replaceChildren(...evaluations.filter((each, number) => number !== current && each.byPhoto.has(record.photo))
      .map((each) => {
        const other = each.byPhoto.get(record.photo);
        const text = other.box ? words(other.trueClass) : words(other.predicted);
        return make("li", { textContent: `${each.title}: ${text} ${scoreText(other.score, each.kind)}` });
      }));
    showMaps(record);
    $("position").textContent = `${(index + 1).toLocaleString("en")} of ${count(found)}`;
    const focused = document.activeElement; // a button that is disabled loses the focus
    [$("previous").disabled, $("next").disabled] = [index === 0, index === found.length - 1];
    if (!$("viewer").open) $("viewer").showModal();
    if (focused.disabled) $("close").focus();
  }

  function showMaps(record) {
    const [, width, height] = data.thumbnails[record.photo] || [];
    const maps = width && data.maps[current]?.[record.photo] || [];
    $("maps").hidden = !maps.length;
    for (const note of all(".note", $("maps"))) note.hidden = note.dataset.kind !== evaluations[current].kind;
    setOptions($("map"), [["", "none"], ...maps.map(([number], place) => [place, words(number)])]);
    $("map").value = maps[mapShown] ? mapShown : "";
    $("map").onchange = () => {
      mapShown = $("map").value;
      all(".map", $("picture")).forEach((each) => each.remove());
      if (!$("picture").classList.toggle("mapped", mapShown !== "")) return;
      const svg = draw("svg", { class: "map", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      svg.append(draw("image", { href: maps[mapShown][1], width, height, preserveAspectRatio: "none" }));
      $("picture").firstChild.append(svg);
    };
    maps.length ? $("map").onchange() : $("picture").classList.remove("mapped");
  }

  const step = (distance) => { if (found[open + distance]) view(open + distance); };

  const focusCard = (index) => $("cards").children[index]?.firstChild.focus();
  function close() {
    while (shown <= open) showMore();
    $("viewer").close();
    focusCard(open);
  }

  /* Tables */

  function sort(button) {
    const [header, table] = [button.closest("th"), button.closest("table")];
    const column = [...header.parentElement.children].indexOf(header);
    const isNumber = button.dataset.sort === "number";
    const isUp = header.ariaSort ? header.ariaSort !== "ascending" : !isNumber;
    const key = (row) => isNumber ? Number(row.children[column].dataset.value) : row.children[column].textContent.trim();
    const difference = (a, b) => isNumber ? a - b : a.localeCompare(b);
    const rows = [...table.tBodies[0].rows].sort((a, b) => (isUp ? 1 : -1) * difference(key(a), key(b)));
    all("th[aria-sort]", table).forEach((each) => each.removeAttribute("aria-sort"));
    header.ariaSort = isUp ? "ascending" : "descending";
    table.tBodies[0].append(...rows);
  }

  /* Of the cells of a matrix one is in the order of the tab key; arrows reach the others. */
  function moveInMatrix(event) {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return;
    event.preventDefault();
    const rows = event.currentTarget.tBodies[0].rows;
    let [row, column] = [cell.parentElement.sectionRowIndex + step[0], cell.cellIndex + step[1]];
    for (; rows[row]?.cells[column]; row += step[0], column += step[1]) {
      const button = rows[row].cells[column].querySelector("button");
      if (!button) continue;
      [event.target.tabIndex, button.tabIndex] = [-1, 0];
      button.focus();
      return;
    }
  }

  function showEvaluation(number) {
    current = Number(number);
    $("evaluation").value = current;
    for (const part of all("[data-evaluation]")) {
      part.hidden = Number(part.dataset.evaluation) !== current;
      for (const section of all("[aria-label=Classes], [aria-label=Confusions]", part))
        section.id = part.hidden ? "" : section.ariaLabel.toLowerCase();
    }
    setFilters();
    filter();
  }

  function showPhotographs(values) {
    resetFilters();
    for (const [select, value] of Object.entries({ outcome: "all", ...values })) $(select).value = value;
    filter();
    $("photographs-title").focus({ preventScroll: true });
    $("photographs").scrollIntoView();
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.dataset.sort) sort(button);
    else if (button.dataset.differs) {
      showEvaluation(button.dataset.differs.split(",")[0]);
      showPhotographs({ outcome: button.dataset.differs.split(",")[1] });
    } else if (button.dataset.label)
      showPhotographs({ prediction: "", ...button.dataset });
  });
  for (const matrix of all(".matrix")) {
    all("button", matrix).forEach((each, place) => { each.tabIndex = place ? -1 : 0; });
    matrix.addEventListener("keydown", moveInMatrix);
  }
  for (const each of filters) each.addEventListener("input", filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", (event) => { event.preventDefault(); resetFilters(); filter(); });
  $("evaluation").addEventListener("change", (event) => showEvaluation(event.target.value));
  $("more").addEventListener("click", () => { const first = shown; showMore(); focusCard(first); });
  $("close").addEventListener("click", close);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("viewer").addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  $("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) close(); });
  $("viewer").addEventListener("keydown", (event) => {
    const distance = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (distance && event.target.tagName !== "SELECT") step(distance);
  });
  showEvaluation(0);
})();
