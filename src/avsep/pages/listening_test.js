// The voting of a listening test: one trial at a time, every vote kept at once in this browser.
// What decides is plain functions of plain data; only `begin` touches the page.

const FORMAT = "avsep listening votes 1";

function emptyRecord(test, listenerId) {
  return { format: FORMAT, test, listener: { id: listenerId, name: "" }, votes: [] };
}

// What was kept, if it is a record of this test; else an empty one.
function readRecord(text, test, listenerId) {
  try {
    const found = JSON.parse(text);
    if (found.format === FORMAT && found.test === test && Array.isArray(found.votes)) return found;
  } catch (error) {
    console.warn("what was kept cannot be read, so the test begins anew", error);
  }
  return emptyRecord(test, listenerId);
}

function choiceOf(record, trial) {
  const vote = record.votes.find((one) => one.trial === trial);
  return vote ? vote.choice : null;
}

// The record with one vote, which takes the place of an earlier one on the same trial.
function withVote(record, trial, choice, time) {
  const others = record.votes.filter((one) => one.trial !== trial);
  return { ...record, votes: [...others, { trial, choice, time }] };
}

function firstOpen(record, trials) {
  const open = trials.findIndex((trial) => choiceOf(record, trial) === null);
  return open < 0 ? trials.length - 1 : open;
}

// Which action a key stands for; none while a name is typed.
function actionOf(key, isTyping) {
  if (isTyping) return null;
  const actions = {
    a: "choose-first", b: "choose-second", 0: "play-truth", 1: "play-first", 2: "play-second",
    ArrowLeft: "back", ArrowRight: "next",
  };
  return actions[key.length === 1 ? key.toLowerCase() : key] ?? null;
}

function fileName(record) {
  const safe = record.listener.name.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-");
  const name = safe.replace(/^-+|-+$/g, "").toLowerCase() || "listener";
  return `votes-${name}-${record.listener.id.slice(0, 6)}.json`;
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function begin(page, store) {
  const one = (selector) => page.querySelector(selector);
  const sections = [...page.querySelectorAll(".trial")];
  const trials = sections.map((section) => section.dataset.trial);
  const test = page.body.dataset.test;
  const slot = `avsep-listening-${test}`;
  let record = readRecord(store.getItem(slot) ?? "", test, newId());
  let current = firstOpen(record, trials);

  function keep(changed) {
    record = changed;
    try {
      store.setItem(slot, JSON.stringify(record));
    } catch (error) {
      console.warn("this browser keeps nothing for pages: save the votes before closing", error);
    }
    show();
  }

  function show() {
    sections.forEach((section, place) => {
      section.hidden = place !== current;
      const choice = choiceOf(record, section.dataset.trial);
      section.querySelectorAll("[data-choice]").forEach((box) => {
        const isChosen = box.dataset.choice === choice;
        box.classList.toggle("chosen", isChosen);
        box.querySelector("button").setAttribute("aria-pressed", String(isChosen));
      });
    });
    const done = record.votes.length;
    one("progress").value = done;
    one("#state").textContent = `trial ${current + 1} of ${trials.length}, ${done} answered`;
    one("#back").disabled = current === 0;
    one("#next").disabled = current === trials.length - 1;
    one("#name").value = record.listener.name;
    one("#done").hidden = done < trials.length;
  }

  function go(place) {
    page.querySelectorAll("audio").forEach((sound) => sound.pause());
    current = Math.min(Math.max(place, 0), trials.length - 1);
    show();
  }

  function play(which) {
    const wanted = sections[current].querySelector(`audio[data-sound="${which}"]`);
    page.querySelectorAll("audio").forEach((sound) => sound.pause());
    wanted.currentTime = 0;
    wanted.play();
  }

  function act(action) {
    if (action === "back") go(current - 1);
    if (action === "next") go(current + 1);
    if (action.startsWith("play-")) play(action.slice(5));
    if (action.startsWith("choose-")) {
      keep(withVote(record, trials[current], action.slice(7), new Date().toISOString()));
    }
  }

  sections.forEach((section) => {
    section.querySelectorAll("[data-choice] button").forEach((button) => {
      const choice = button.closest("[data-choice]").dataset.choice;
      button.addEventListener("click", () => act(`choose-${choice}`));
    });
  });
  page.addEventListener("play", (event) => {
    page.querySelectorAll("audio").forEach((sound) => sound !== event.target && sound.pause());
  }, true);
  page.addEventListener("keydown", (event) => {
    const isTyping = event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey;
    // A player that has the focus keeps its arrows.
    if (event.target.tagName === "AUDIO" && event.key.startsWith("Arrow")) return;
    const action = actionOf(event.key, isTyping);
    if (action) {
      event.preventDefault();
      act(action);
    }
  });
  one("#back").addEventListener("click", () => act("back"));
  one("#next").addEventListener("click", () => act("next"));
  one("#name").addEventListener("input", (event) => {
    keep({ ...record, listener: { ...record.listener, name: event.target.value } });
  });
  one("#save").addEventListener("click", () => {
    const link = page.createElement("a");
    link.href = URL.createObjectURL(
      new Blob([JSON.stringify(record, null, 1) + "\n"], { type: "application/json" })
    );
    link.download = fileName(record);
    link.click();
    URL.revokeObjectURL(link.href);
  });
  one("#anew").addEventListener("click", () => {
    const question = "Begin as another listener? Votes that are not saved as a file are lost.";
    if (window.confirm(question)) {
      current = 0;
      keep(emptyRecord(test, newId()));
    }
  });
  one("#controls").hidden = false;
  show();
}

if (typeof document !== "undefined") {
  let store = null;
  try {
    store = window.localStorage;
  } catch (error) {
    console.warn("this browser keeps nothing for pages: save the votes before closing", error);
  }
  // Without a place to keep them, votes last until the page is closed.
  begin(document, store ?? { getItem: () => null, setItem: () => undefined });
}
if (typeof module !== "undefined") {
  module.exports = { actionOf, choiceOf, emptyRecord, fileName, firstOpen, readRecord, withVote };
}
