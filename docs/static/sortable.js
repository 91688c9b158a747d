// Tables of class "sortable": a button in each heading sorts, and what data-filter="yes" marks is chosen above.
"use strict";

function value(cell) {
  const number = parseFloat(cell.textContent.replace("−", "-"));
  return Number.isNaN(number) ? cell.textContent.trim() : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : Number(a > b);
  return typeof a === "number" ? -1 : 1; // what is no number comes last
}

function sort(table, column, heading) {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => (up ? 1 : -1) * compare(value(a.cells[column]), value(b.cells[column])));
  table.tBodies[0].append(...rows);
}

function enhance(table) {
  const rows = [...table.tBodies[0].rows];
  const count = Object.assign(document.createElement("p"), { role: "status" });
  const form = document.createElement("form");
  form.className = "filters";
  form.addEventListener("submit", (event) => event.preventDefault());
  const chosen = [];

  function show() {
    let shown = 0;
    for (const [column, select] of chosen) {
      // What is the same in every row needs no column.
      for (const row of [table.tHead.rows[0], ...rows]) row.cells[column].hidden = select.value !== "";
    }
    for (const row of rows) {
      row.hidden = chosen.some(([column, select]) => {
        return select.value && row.cells[column].textContent.trim() !== select.value;
      });
      shown += Number(!row.hidden);
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  }

  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const name = heading.textContent;
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.addEventListener("click", () => sort(table, column, heading));
    heading.replaceChildren(button);
    if (heading.dataset.filter === undefined) return;
    const select = document.createElement("select");
    select.append(new Option(`any ${name}`, ""));
    const names = new Set(rows.map((row) => row.cells[column].textContent.trim()));
    for (const one of names) select.append(new Option(one, one));
    select.value = names.has(heading.dataset.filter) ? heading.dataset.filter : "";
    select.addEventListener("change", show);
    const label = document.createElement("label");
    label.append(`${name} `, select);
    form.append(label);
    chosen.push([column, select]);
  });
  form.append(count);
  const frame = document.createElement("div");
  frame.className = "wide";
  table.replaceWith(frame);
  frame.append(table);
  frame.before(form);
  show();
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.sortable").forEach(enhance);
});
