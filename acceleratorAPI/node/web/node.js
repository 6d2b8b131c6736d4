// The node's live page: asks /v2/node once a second while it can be seen, and shows what it says.
"use strict";

const EVERY_MS = 1000, SLOWEST_MS = 15000, POINTS = 60, ENDED_SHOWN = 8;
const find = (id) => document.getElementById(id);
const lines = { "rate-in": [], "rate-out": [] };
let last = null, timer = 0, failures = 0, watched = new Map();

// The token lives as long as the tab; it is never part of an address.
const kept = {
  get: () => sessionStorage.getItem("token") || "",
  set: (token) => sessionStorage.setItem("token", token),
  drop: () => sessionStorage.removeItem("token"),
};

async function look() {
  clearTimeout(timer);
  const token = kept.get();
  if (/[^\x21-\x7e]/.test(token)) return ask(token, 401);
  try {
    const answer = await fetch("v2/node", {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      credentials: "omit", cache: "no-store",
    });
    failures = 0;
    if (answer.status === 401 || answer.status === 403) return ask(token, answer.status);
    if (!answer.ok) throw new Error(`the node answers ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    failures += 1;
    const why = error instanceof TypeError ? "The node does not answer" : `Something is wrong: ${error.message}`;
    say(`${why}. Trying again.`, true);
    find("state").hidden = true;
  }
  later();
}

function later() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, Math.min(SLOWEST_MS, EVERY_MS * 2 ** failures));
}

function ask(token, status) {
  kept.drop();
  last = null;
  find("node").hidden = find("forget").hidden = find("state").hidden = true;
  find("ask").hidden = false;
  const input = find("token");
  input.setAttribute("aria-invalid", token ? "true" : "false");
  const wrong = status === 403 ? "This token may not look at the node." : "This is not the token of this node.";
  say(token ? wrong : "", true);
  input.value = "";
  input.focus();
}

function say(text, trouble = false) {
  const message = find("message");
  if (message.textContent !== text) message.textContent = text;
  message.classList.toggle("trouble", trouble);
}

function show(node) {
  tell(node);
  find("ask").hidden = true;
  find("node").hidden = false;
  find("forget").hidden = !kept.get();
  const state = find("state");
  state.hidden = false;
  state.textContent = node.draining ? "ending" : "taking work";
  state.classList.toggle("ending", node.draining);
  find("about").textContent = `version ${node.version}, up ${time(node.uptime_s)}, ${node.functions.length} functions`;
  rates(node);
  put("running", `${node.jobs.running} of ${node.slots.length}`);
  put("queue", `${node.queue.waiting} waiting, ${node.uploads_open} arriving`);
  put("succeeded", number(node.jobs.succeeded));
  put("not-done", `${number(node.jobs.failed)} failed, ${number(node.jobs.cancelled)} cancelled`);
  jobs(node);
  find("slots").replaceChildren(...node.slots.map((slot) => {
    const doing = slot.job ? `job ${slot.job}, ${slot.function}` : slot.function ? `configuring ${slot.function}` : slot.state;
    const since = time(Math.max(0, Date.parse(node.started) / 1000 + node.uptime_s - Date.parse(slot.since) / 1000));
    return element("li", {}, element("span", {}, `${slot.number + 1}`), element("span", { class: slot.state }, doing), element("span", {}, since));
  }));
  usage(node);
  last = node;
}

// What happened since the last look, for people who cannot watch the table.
function tell(node) {
  const ended = node.recent.filter((job) => watched.has(job.id));
  watched = new Map(node.live.map((job) => [job.id, job]));
  if (ended.length) {
    const job = ended[0], failed = job.state !== "succeeded";
    say(`Job ${job.id} (${job.function}) ${job.state}${job.errorcode ? `: ${job.errorcode}` : ""} after ${time(job.elapsed_s)}.`, failed);
  } else if (find("message").classList.contains("trouble") && !find("message").textContent.startsWith("Job")) say("");
}

function rates(node) {
  const seconds = last ? node.uptime_s - last.uptime_s : 0;
  const since = (name) => seconds > 0 ? Math.max(0, node.totals[name] - last.totals[name]) / seconds : node.rates[name];
  for (const [shown, name] of [["rate-in", "bytes_in"], ["rate-out", "bytes_out"]]) {
    const points = lines[shown];
    points.push(since(name));
    if (points.length > POINTS) points.shift();
    // Progress comes five times a second, so one look alone is ragged.
    const recent = points.slice(-3);
    put(shown, `${bytes(recent.reduce((sum, value) => sum + value, 0) / recent.length)}/s`);
    const top = Math.max(...points, 1), step = 120 / (POINTS - 1), start = 120 - step * (points.length - 1);
    const drawn = points.map((value, at) => `${(start + at * step).toFixed(1)},${(26 - 24 * value / top).toFixed(1)}`);
    document.querySelector(`[data-line="${shown}"] polyline`).setAttribute("points", drawn.join(" "));
  }
}

function jobs(node) {
  const seen = [...node.live].reverse().concat(node.recent.slice(0, ENDED_SHOWN));
  find("jobs").replaceChildren(...seen.map((job) => {
    const cell = (name, value, look = "") => element("td", { "data-name": name, class: look }, value);
    const file = job.input ? job.input.split("/").pop() : "";
    return element("tr", {}, cell("Job", job.id), cell("Function", job.function), cell("Input", file),
      cell("State", job.errorcode ? `${job.state}: ${job.errorcode}` : job.state, job.state), cell("Progress", progress(job)),
      cell("Read", bytes(job.bytes_in), "number"), cell("Written", bytes(job.bytes_out), "number"),
      cell("Time", time(job.elapsed_s), "number"));
  }));
  find("none").hidden = seen.length > 0;
  document.querySelector("table").hidden = seen.length === 0;
}

function progress(job) {
  if (job.state !== "running") return "";
  const part = job.bytes_total ? Math.min(1, job.bytes_in / job.bytes_total) : null;
  const bar = element("progress", { max: 1, "aria-label": `Progress of job ${job.id}` });
  if (part === null) return bar;
  bar.value = part;
  return element("span", { class: "part" }, bar, element("span", { class: "percent" }, `${Math.floor(part * 100)} %`));
}

function usage(node) {
  const memory = node.processes.reduce((sum, process) => sum + process.rss_bytes, 0);
  const processor = node.processes.reduce((sum, process) => sum + process.cpu_s, 0);
  facts("usage", {
    "Read by functions": bytes(node.totals.bytes_in), "Written by functions": bytes(node.totals.bytes_out),
    "Kernel time": time(node.totals.kernel_s), "Received": bytes(node.totals.received_bytes),
    "Sent": bytes(node.totals.sent_bytes), "Requests": number(node.totals.requests),
    "Worker crashes": number(node.totals.worker_crashes),
  });
  const words = (value) => value === true ? "yes" : value === false ? "no" : Array.isArray(value) ? value.join(", ") || "none" : String(value ?? "unknown");
  facts("machine", {
    "Spool": `${bytes(node.spool.used_bytes)}, files: ${number(node.spool.files)}`, "Free disk": bytes(node.spool.free_bytes),
    "Memory": bytes(memory), "Processor time": time(processor),
    ...Object.fromEntries(Object.entries(node.protection).map(([name, value]) => [capital(name), words(value)])),
  });
}

const capital = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
const put = (name, text) => { document.querySelector(`[data-show="${name}"]`).textContent = text; };
const number = (value) => value.toLocaleString("en");

function facts(id, values) {
  find(id).replaceChildren(...Object.entries(values).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "") made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const unit = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  return `${(count / 1000 ** unit).toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

function time(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} d`;
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  kept.set(find("token").value.trim());
  look();
});
find("forget").addEventListener("click", () => ask("", 401));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : find("ask").hidden && look()));
look();
