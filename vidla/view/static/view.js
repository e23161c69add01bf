"use strict";
// Keys, scrubbing, playing and what loads later. Pages are whole without it.

const editing = (target) => target.closest("input, select, textarea, video");

// --- a player: the range of the clip, and what belongs to the moment ------------------------------------------------

const player = document.querySelector(".player");
const video = player?.querySelector("video");
if (video) {
  const start = Number(player.dataset.start), end = Number(player.dataset.end);
  const marks = [...document.querySelectorAll("[data-time]")];
  const inside = () => video.currentTime >= start - 0.05 && video.currentTime < end;
  video.addEventListener("loadedmetadata", () => { if (!inside()) video.currentTime = start; });
  video.addEventListener("play", () => { if (!inside()) video.currentTime = start; });
  const follow = () => {
    if (video.currentTime >= end && !video.paused) { video.pause(); video.currentTime = end; }
    for (const list of new Set(marks.map((mark) => mark.parentElement))) {
      const past = [...list.children].filter((mark) => Number(mark.dataset.time) <= video.currentTime + 0.05);
      for (const mark of list.children) mark.classList.toggle("now", mark === past.at(-1));
    }
    if (!video.paused) requestAnimationFrame(follow);
  };
  for (const event of ["play", "seeked", "timeupdate"]) video.addEventListener(event, follow);
  for (const mark of marks) mark.querySelector("button").addEventListener("click", () => {
    video.currentTime = Math.min(Math.max(Number(mark.dataset.time), start), end);
    video.play();
  });
}

// --- keys -----------------------------------------------------------------------------------------------------------

const cards = [...document.querySelectorAll(".grid li")];
let current = -1;
const go = (step) => {
  if (cards.length === 0) return document.querySelector(`a[rel=${step > 0 ? "next" : "prev"}]`)?.click();
  const next = current + step;
  if (next < 0 || next >= cards.length) return document.querySelector(`a[rel=${step > 0 ? "next" : "prev"}]`)?.click();
  cards[current]?.classList.remove("current");
  current = next;
  cards[current].classList.add("current");
  cards[current].scrollIntoView({ block: "nearest" });
  cards[current].querySelector("a").focus({ preventScroll: true });
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || editing(event.target)) return;
  if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if ("123".includes(event.key)) rate(event.key);
  else if (event.key === " " && video) { event.preventDefault(); video.paused ? video.play() : video.pause(); }
});

// --- judging: 1, 2 and 3 are the verdicts, or the ratings of the first text that has none -------------------------------

const form = document.querySelector("form.judge");
function rate(key) {
  const choices = [...document.querySelectorAll(`form.judge [data-key="${key}"]`)];
  const open = choices.find((choice) => choice.type !== "radio" || !form.querySelector(`[name="${choice.name}"]:checked`));
  if (!open) return;
  open.click();
  const left = [...form.querySelectorAll("fieldset")].filter((one) => !one.querySelector(":checked"));
  if (open.type === "radio" && left.length === 0) form.requestSubmit();
}
for (const field of document.querySelectorAll("[data-rater]")) {
  field.value = localStorage.getItem("rater") || field.value;
  field.addEventListener("change", () => localStorage.setItem("rater", field.value));
}

// --- frames under the pointer ---------------------------------------------------------------------------------------

for (const thumbnail of document.querySelectorAll("[data-frames]")) {
  const image = thumbnail.querySelector("img"), first = image.src, frames = thumbnail.dataset.frames.split(" ");
  thumbnail.addEventListener("pointermove", (event) => {
    const box = thumbnail.getBoundingClientRect();
    const share = Math.min(0.999, Math.max(0, (event.clientX - box.left) / box.width));
    image.src = frames[Math.floor(share * frames.length)];
  });
  thumbnail.addEventListener("pointerleave", () => { image.src = first; });
}

// --- what loads later -----------------------------------------------------------------------------------------------

async function fill(place, address) {
  const answer = await fetch(address);
  if (!answer.ok) return;
  place.innerHTML = await answer.text();  // our own page, whose texts are escaped
  draggable(place);
}
for (const details of document.querySelectorAll("details[data-load]")) {
  details.addEventListener("toggle", () => {
    const place = details.querySelector("div");
    if (details.open && !place.childElementCount) fill(place, details.dataset.load);
  });
}
for (const place of document.querySelectorAll("[data-fill]")) fill(place, place.dataset.fill);
for (const place of document.querySelectorAll("[data-refresh]")) {
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch(place.dataset.refresh);
    if (answer.ok) place.innerHTML = await answer.text();
  }, 3000);
}

// --- a range of a histogram, by dragging ----------------------------------------------------------------------------

function draggable(root) {
  for (const figure of root.querySelectorAll(".histogram")) {
    const picture = figure.querySelector("svg");
    const bins = picture.viewBox.baseVal.width, low = Number(figure.dataset.low), high = Number(figure.dataset.high);
    const at = (event) => {
      const box = picture.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    let from = null, chosen = null;
    picture.addEventListener("pointerdown", (event) => { from = at(event); event.preventDefault(); });
    picture.addEventListener("pointermove", (event) => {
      if (from === null || Math.abs(at(event) - from) < 0.01) return;
      if (!chosen) {
        chosen = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        chosen.classList.add("chosen");
        chosen.setAttribute("height", "20");
        picture.append(chosen);
        picture.setPointerCapture(event.pointerId);
      }
      chosen.setAttribute("x", Math.min(from, at(event)) * bins);
      chosen.setAttribute("width", Math.abs(at(event) - from) * bins);
    });
    picture.addEventListener("pointerup", (event) => {
      const [first, last] = [from, at(event)].sort((a, b) => a - b);
      const ends = [Math.floor(first * bins) / bins, Math.ceil(last * bins) / bins];  // whole bars
      if (from !== null && chosen) {
        const query = new URLSearchParams(location.pathname.endsWith("/clips") ? location.search : "");
        query.delete("page");
        ["from", "to"].forEach((side, i) => query.set(`${figure.dataset.column}.${side}`, low + ends[i] * (high - low)));
        location.href = `clips?${query}`;
      }
      from = chosen = null;
    });
  }
}
draggable(document);
