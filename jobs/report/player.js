// Plays the pieces of #data in a dialog; each word lights up while it is spoken.
// A place to play is a link to its mp4, which works without this file, too.
"use strict";

const player = document.getElementById("player");
if (player) {
  const film = player.querySelector("video");
  const place = player.querySelector(".words");
  let [words, at, lit] = [[], 0, -1];

  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  const clock = (s) => (s >= 3600 ? `${Math.floor(s / 3600)}:${two((s / 60) % 60)}` : Math.floor(s / 60)) + `:${two(s % 60)}`;
  const step = (by) => open((at + by + page.pieces.length) % page.pieces.length);
  const go = (to_s) => { film.currentTime = to_s + 0.001; }; // not a hair before the word begins

  /** Marks the word that is spoken now, and none between words. */
  function light() {
    const now_s = film.currentTime;
    const next = words.findIndex(({start_s, end_s}) => start_s <= now_s && now_s < end_s);
    if (next !== lit) {
      words[lit]?.span.classList.remove("now");
      words[next]?.span.classList.add("now");
      words[next]?.span.scrollIntoView({block: "nearest"});
      lit = next;
    }
  }

  function follow() {
    light();
    if (!film.paused && player.open) requestAnimationFrame(follow);
  }

  /** Goes to the beginning of the next word, or of the one before the last that began. */
  function goByWord(by) {
    const begun = words.filter(({start_s}) => start_s <= film.currentTime).length;
    const to = words[Math.min(words.length - 1, Math.max(0, by > 0 ? begun : begun - 2))];
    if (to) go(to.start_s);
  }

  /** Writes the words, a paragraph for each clip; those outside of any stand by themselves. */
  function write(piece) {
    const gap = piece.words.length < 2 || /\s/.test(piece.text) ? " " : "";
    let [paragraph, inside] = [null, undefined];
    place.replaceChildren();
    words = piece.words.map((word) => {
      const middle_s = (word.start_s + word.end_s) / 2;
      const clip = piece.clips.findIndex(({start_s, end_s}) => start_s <= middle_s && middle_s <= end_s);
      if (clip !== inside) {
        inside = clip;
        paragraph = place.appendChild(document.createElement("p"));
        paragraph.className = clip < 0 ? "outside" : "clip";
        if (clip >= 0) paragraph.dataset.time = clock(piece.clips[clip].start_s);
      }
      const span = document.createElement("span");
      span.textContent = word.word.trim();
      if (word.probability !== null) {
        span.style.setProperty("--doubt-share", `${Math.round(100 * (1 - word.probability))}%`);
        span.title = `probability ${word.probability.toFixed(2)}, ${word.start_s.toFixed(2)}–${word.end_s.toFixed(2)} s`;
      }
      span.addEventListener("click", () => go(word.start_s));
      paragraph.append(span, gap);
      return {...word, span};
    });
    if (!words.length) place.textContent = "No words lie here.";
  }

  function open(number) {
    const piece = page.pieces[number];
    [at, lit] = [number, -1];
    player.querySelector("#player-title").textContent = piece.title;
    player.querySelector(".about").textContent =
      `${piece.reason ? `Left out: ${piece.reason}` : "Kept"} · ${clock(piece.start_s ?? 0)}–${clock(piece.end_s ?? 0)} of the source · ${number + 1} of ${page.pieces.length}`;
    film.poster = piece.jpg ? `report_media/${piece.jpg}` : "";
    film.src = `report_media/${piece.mp4}`;
    write(piece);
    if (!player.open) player.showModal();
    film.play().catch(() => {}); // a browser may want a second click
  }

  const DEEDS = {close: () => player.close(), previous: () => step(-1), next: () => step(1)};
  const KEYS = {
    " ": () => (film.paused ? film.play().catch(() => {}) : film.pause()),
    ArrowLeft: () => goByWord(-1),
    ArrowRight: () => goByWord(1),
  };

  for (const link of document.querySelectorAll("a.play")) {
    link.setAttribute("role", "button");
    link.addEventListener("keydown", (event) => { if (event.key === " ") { event.preventDefault(); link.click(); } });
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // as any link
      event.preventDefault();
      open(Number(link.dataset.place));
    });
  }
  player.addEventListener("click", ({target}) => DEEDS[target.dataset.do]?.());
  player.addEventListener("keydown", (event) => {
    const deed = KEYS[event.key];
    if (!deed || event.ctrlKey || event.altKey || event.metaKey || (event.key === " " && event.target.closest("button"))) return;
    event.preventDefault(); // else the film's own controls would do it a second time
    event.stopPropagation();
    deed();
  }, true);
  player.addEventListener("close", () => { film.pause(); film.removeAttribute("src"); film.load(); });
  film.addEventListener("play", follow);
  for (const event of ["seeked", "timeupdate", "loadeddata"]) film.addEventListener(event, light);
}
