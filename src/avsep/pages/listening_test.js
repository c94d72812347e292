// Voting in a listening test: one trial at a time, each vote stored at once in this browser.
// The logic is pure functions of plain data, so that tests run it without a browser; only `begin`
// accesses the page.

// Checked when votes are counted: change it with the fields of a record.
const FORMAT = "avsep listening votes 1";

function emptyRecord(test, listenerId) {
  return { format: FORMAT, test, listener: { id: listenerId, name: "" }, votes: [] };
}

// Parse a stored record; return an empty one if it is missing or belongs to another test.
function readRecord(text, test, listenerId) {
  try {
    const record = JSON.parse(text);
    if (record.format === FORMAT && record.test === test && Array.isArray(record.votes)) {
      return record;
    }
  } catch (error) {
    console.warn("the stored votes cannot be read, so the test starts again", error);
  }
  return emptyRecord(test, listenerId);
}

function choiceOf(record, trial) {
  const vote = record.votes.find((other) => other.trial === trial);
  return vote ? vote.choice : null;
}

// Return a copy of the record with a vote, which replaces an earlier one on the same trial.
function withVote(record, trial, choice, time) {
  const others = record.votes.filter((vote) => vote.trial !== trial);
  return { ...record, votes: [...others, { trial, choice, time }] };
}

// Return the index of the first trial without a vote, or of the last trial.
function firstOpen(record, trials) {
  const index = trials.findIndex((trial) => choiceOf(record, trial) === null);
  return index < 0 ? trials.length - 1 : index;
}

// Return the action of a key; null while a name is typed.
function actionOf(key, isTyping) {
  if (isTyping) return null;
  const actions = {
    a: "choose-first", b: "choose-second", 0: "play-truth", 1: "play-first", 2: "play-second",
    ArrowLeft: "back", ArrowRight: "next",
  };
  return actions[key.length === 1 ? key.toLowerCase() : key] ?? null;
}

// Name the file of a listener's votes. The identifier keeps two listeners of one name apart.
function fileName(record) {
  // NFKD splits accented letters, so that "é" becomes "e" and not "-".
  const safe = record.listener.name.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-");
  const name = safe.replace(/^-+|-+$/g, "").toLowerCase() || "listener";
  return `votes-${name}-${record.listener.id.slice(0, 6)}.json`;
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function begin(page, store) {
  const element = (selector) => page.querySelector(selector);
  const sections = [...page.querySelectorAll(".trial")];
  const trials = sections.map((section) => section.dataset.trial);
  const test = page.body.dataset.test;
  const storageKey = `avsep-listening-${test}`;
  let record = readRecord(store.getItem(storageKey) ?? "", test, newId());
  let current = firstOpen(record, trials);

  function save(changedRecord) {
    record = changedRecord;
    try {
      store.setItem(storageKey, JSON.stringify(record));
    } catch (error) {
      console.warn("this browser stores no data of pages: save the votes before closing it", error);
    }
    show();
  }

  function show() {
    sections.forEach((section, index) => {
      section.hidden = index !== current;
      const choice = choiceOf(record, section.dataset.trial);
      section.querySelectorAll("[data-choice]").forEach((box) => {
        const isChosen = box.dataset.choice === choice;
        box.classList.toggle("chosen", isChosen);
        box.querySelector("button").setAttribute("aria-pressed", String(isChosen));
      });
    });
    const done = record.votes.length;
    element("progress").value = done;
    element("#state").textContent = `trial ${current + 1} of ${trials.length}, ${done} answered`;
    element("#back").disabled = current === 0;
    element("#next").disabled = current === trials.length - 1;
    element("#name").value = record.listener.name;
    element("#done").hidden = done < trials.length;
  }

  function go(index) {
    page.querySelectorAll("audio").forEach((sound) => sound.pause());
    current = Math.min(Math.max(index, 0), trials.length - 1);
    show();
  }

  // Always from the start, for short comparisons of the same passage.
  function play(name) {
    const sound = sections[current].querySelector(`audio[data-sound="${name}"]`);
    page.querySelectorAll("audio").forEach((other) => other.pause());
    sound.currentTime = 0;
    sound.play();
  }

  function act(action) {
    if (action === "back") go(current - 1);
    if (action === "next") go(current + 1);
    if (action.startsWith("play-")) play(action.slice(5));
    if (action.startsWith("choose-")) {
      save(withVote(record, trials[current], action.slice(7), new Date().toISOString()));
    }
  }

  sections.forEach((section) => {
    section.querySelectorAll("[data-choice] button").forEach((button) => {
      const choice = button.closest("[data-choice]").dataset.choice;
      button.addEventListener("click", () => act(`choose-${choice}`));
    });
  });
  // One sound at a time. Events of media elements do not bubble, hence the capture phase (true).
  page.addEventListener("play", (event) => {
    page.querySelectorAll("audio").forEach((sound) => sound !== event.target && sound.pause());
  }, true);
  page.addEventListener("keydown", (event) => {
    const isTyping = event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey;
    // A focused player uses the arrow keys to seek.
    if (event.target.tagName === "AUDIO" && event.key.startsWith("Arrow")) return;
    const action = actionOf(event.key, isTyping);
    if (action) {
      event.preventDefault();
      act(action);
    }
  });
  element("#back").addEventListener("click", () => act("back"));
  element("#next").addEventListener("click", () => act("next"));
  element("#name").addEventListener("input", (event) => {
    save({ ...record, listener: { ...record.listener, name: event.target.value } });
  });
  element("#save").addEventListener("click", () => {
    const link = page.createElement("a");
    link.href = URL.createObjectURL(
      new Blob([JSON.stringify(record, null, 1) + "\n"], { type: "application/json" })
    );
    link.download = fileName(record);
    link.click();
    URL.revokeObjectURL(link.href);
  });
  element("#anew").addEventListener("click", () => {
    const question = "Start as another listener? Votes that are not saved as a file are lost.";
    if (window.confirm(question)) {
      current = 0;
      save(emptyRecord(test, newId()));
    }
  });
  // The page hides its controls until this script runs.
  element("#controls").hidden = false;
  show();
}

if (typeof document !== "undefined") {
  let store = null;
  try {
    store = window.localStorage;
  } catch (error) {
    console.warn("this browser stores no data of pages: save the votes before closing it", error);
  }
  // Without storage, as in private windows, votes last until the page is closed.
  begin(document, store ?? { getItem: () => null, setItem: () => undefined });
}
if (typeof module !== "undefined") {
  module.exports = { actionOf, choiceOf, emptyRecord, fileName, firstOpen, readRecord, withVote };
}
