"use strict";
// Filter the statements by words, verdict and wording; nothing is fetched.
(() => {
  const field = document.getElementById("words");
  const verdict = document.getElementById("verdict");
  const form = document.getElementById("form");
  const said = document.getElementById("shown");
  const rows = [...document.querySelectorAll("details.claim")];
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = words.every((word) => row.dataset.text.includes(word))
        && (!verdict.value || row.dataset.verdict === verdict.value)
        && (!form.value || row.dataset.form === form.value);
      row.hidden = !fits;
      count += fits;
    }
    said.textContent = `${count} of ${rows.length} statements`;
  };
  if (!field) return;
  for (const element of [field, verdict, form]) element.addEventListener("input", show);
  const open = () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (row && row.matches("details")) { row.hidden = false; row.open = true; row.scrollIntoView(); }
  };
  window.addEventListener("hashchange", open);
  show();
  open();
})();
