// Turns the sections into tabs and the crops into a slider. Without it all is shown, and so it is in print.
"use strict";
(() => {
  const tabs = [...document.querySelectorAll(".tabs a")];
  const panels = tabs.map((tab) => document.querySelector(tab.hash));

  function select(place, focus) {
    tabs.forEach((tab, other) => {
      tab.setAttribute("aria-selected", other === place);
      tab.tabIndex = other === place ? 0 : -1;
      panels[other].classList.toggle("open", other === place);
    });
    if (focus) tabs[place].focus();
  }

  function reveal(hash) {
    const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
    const place = target ? panels.findIndex((panel) => panel.contains(target)) : -1;
    if (place < 0) return;
    select(place, false);
    target.scrollIntoView();
  }

  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  const ends = { Home: 0, End: tabs.length - 1 };
  tabs.forEach((tab, place) => {
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panels[place].id);
    tab.parentElement.setAttribute("role", "presentation");
    panels[place].setAttribute("role", "tabpanel");
    tab.addEventListener("click", (event) => {
      event.preventDefault();
      select(place, true);
    });
    tab.addEventListener("keydown", (event) => {
      if (event.key === " ") select(place, true);
      else if (event.key in ends) select(ends[event.key], true);
      else if (event.key in steps) select((place + steps[event.key] + tabs.length) % tabs.length, true);
      else return;
      event.preventDefault();
    });
  });
  document.querySelector(".tabs ul").setAttribute("role", "tablist");
  document.documentElement.classList.add("js");
  select(0, false);
  window.addEventListener("hashchange", () => reveal(location.hash));
  reveal(location.hash);

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.append(...children);
    return made;
  }

  function compare(article, number) {
    const figures = [...article.querySelectorAll("figure[data-label]")];
    const original = figures[0];
    const decoded = figures.filter((figure) => figure.dataset.label !== original.dataset.label);
    if (!decoded.length) return;
    const first = Math.max(decoded.findIndex((figure) => figure.classList.contains("wrong")), 0);
    const before = original.querySelector("img").cloneNode();
    const after = before.cloneNode();
    const range = element("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": article.dataset.slider });
    const right = element("span", {});
    const stack = element("div", { class: "stack" }, after, before, element("i", {}));
    const names = element("div", { class: "sides" }, element("span", {}, article.dataset.before), right);
    const caption = element("p", { class: "shown", "aria-live": "polite" });
    const choices = element("fieldset", {}, element("legend", {}, article.dataset.quality));

    function show(figure) {
      after.src = figure.querySelector("img").src;
      after.alt = figure.querySelector("img").alt;
      right.textContent = figure.dataset.label;
      caption.replaceChildren(...[...figure.querySelector("figcaption").childNodes].map((node) => node.cloneNode(true)));
      caption.className = "shown " + figure.className;
    }
    function move() {
      stack.style.setProperty("--at", range.value + "%");
    }
    decoded.forEach((figure, place) => {
      const radio = element("input", { type: "radio", name: "setting-" + number });
      radio.addEventListener("change", () => show(figure));
      radio.checked = place === first;
      choices.append(element("label", { class: figure.className }, radio, figure.dataset.label));
    });
    range.addEventListener("input", move);
    move();
    show(decoded[first]);
    const bits = [...article.querySelectorAll("figure.bits")].map((figure) => figure.cloneNode(true));
    const view = element("div", { class: "view" }, stack, range, names);
    const side = element("div", { class: "choice" }, choices, caption, ...bits);
    article.append(element("div", { class: "compare" }, view, side));
  }

  document.querySelectorAll("article.case").forEach(compare);
})();
