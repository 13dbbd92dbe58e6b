// The dashboard's script: live updates, logs that grow, keys. Written for this project; no library.
// Pages work without it. It asks this server alone, and puts no markup together from texts.
"use strict";

(() => {
  const main = document.getElementById("main");
  const ask = async (url, kind) => {
    const answer = await fetch(url, { credentials: "same-origin", headers: { Accept: kind } });
    if (answer.status === 401) location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    return answer;
  };

  // --- Times ---------------------------------------------------------------------------------
  const coarse = (s) => s < 60 ? `${s}s` : s < 3600 ? `${Math.floor(s / 60)}m`
    : s < 86400 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86400)}d`;
  const pad = (n) => String(n).padStart(2, "0");
  const span = (ms) => {
    const s = Math.floor(ms / 1000), m = Math.floor(s / 60), h = Math.floor(m / 60);
    return s < 60 ? `${s}.0s` : m < 60 ? `${m}m${pad(s % 60)}s` : h < 24 ? `${h}h${pad(m % 60)}m`
      : `${Math.floor(h / 24)}d${h % 24}h`;
  };
  const say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  // How many rows of a list are checked.
  const count = () => {
    const said = document.querySelector("[data-chosen]");
    const chosen = document.querySelectorAll("input[name=run]:checked").length;
    if (said) say(said, chosen ? `${chosen} chosen` : "");
  };
  const tick = () => {
    const now = Date.now();
    count();
    for (const element of document.querySelectorAll("time[data-at]")) {
      const ms = now - Number(element.dataset.at);
      const s = Math.floor(Math.abs(ms) / 1000);
      say(element, ms < 0 ? `in ${coarse(s)}` : s < 1 ? "now" : `${coarse(s)} ago`);
    }
    for (const element of document.querySelectorAll("[data-since]")) {
      say(element, span(Math.max(0, now - Number(element.dataset.since))));
    }
  };

  // --- Live: the page is asked for again, and only what differs is changed --------------------
  const keyOf = (node) => node.nodeType === 1 && (node.id || node.dataset?.key) || "";
  const isKept = (node) => node.nodeType === 1 && node.hasAttribute("data-keep");

  // In a list with a fixed number of places each row keeps its own as long as it is in the list.
  const settle = (old, fresh) => {
    const rows = [...fresh.children];
    if (rows.every((row) => row.classList.contains("blank"))) return;
    const left = new Map(rows.map((row) => [keyOf(row), row]));
    const places = [...old.children].slice(0, rows.length).map((row) => {
      const same = left.get(keyOf(row));
      left.delete(keyOf(row));
      return same;
    });
    const others = [...left.values()];
    fresh.replaceChildren(...rows.map((_, i) => places[i] ?? others.shift()));
  };

  const morph = (old, fresh) => {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (isKept(old) || old.isEqualNode(fresh)) return;
    if (old.hasAttribute("data-places") && fresh.hasAttribute("data-places")) settle(old, fresh);
    // What somebody has folded or unfolded stays so, and the room that the page needs to be scrolled.
    const ours = (name) => name === "open" && old.nodeName === "DETAILS" || name === "style" && old === main;
    for (const { name, value } of [...fresh.attributes]) {
      if (!ours(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!ours(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    if (["INPUT", "TEXTAREA", "SELECT"].includes(old.nodeName)) return;
    const keyed = new Map();
    for (const child of old.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const key = keyOf(wanted);
      let found = key ? keyed.get(key) : at;
      const fits = found && found.nodeType === wanted.nodeType
        && found.nodeName === wanted.nodeName && keyOf(found) === key;
      if (!fits) {
        old.insertBefore(document.importNode(wanted, true), at);
        continue;
      }
      if (found === at) at = at.nextSibling;
      else old.insertBefore(found, at);
      morph(found, wanted);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  // --- What stands below the page, and is read to those who don't see it --------------------------
  const NOTES = {
    lost: "The node does not answer. It is tried again.",
    held: "Something newer waits until you move on.",
  };
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.setAttribute("role", "status");
  document.body.append(notice);
  const note = (name, holds) => {
    document.body.classList.toggle(name, holds);
    const said = Object.keys(NOTES).find((name) => document.body.classList.contains(name));
    say(notice, said ? NOTES[said] : "");
  };

  // --- Nothing jumps: what somebody points at, has touched or has the focus in stays where it is --
  const root = document.documentElement;
  // After so long nobody is there: neither a pointer nor the focus keeps anything in its place.
  const REST_MS = 300000;
  // Looks that were held back are made up for at most so often, however many rows are crossed.
  const RELEASE_MS = 500;
  let hand = null, usesKeys = false, touched = 0, released = 0, releasing = 0;
  // What it is, with all that it is in, and where on the page each of them stands.
  const pointed = () => {
    const isThere = Date.now() - touched < REST_MS;
    const focus = document.activeElement;
    const under = hand && document.elementFromPoint(hand.x, hand.y);
    const isIn = (node) => isThere && node && node !== main && main.contains(node);
    const first = [usesKeys && focus, under, focus].find(isIn);
    const around = [];
    // Parts of a drawing change their size.
    for (let node = first?.closest("svg") ?? first; node && node !== main; node = node.parentElement) {
      around.push([node, node.getBoundingClientRect().top + scrollY]);
    }
    return { around, row: first && first === under ? first.closest("tr[data-key]:not(.blank), li[data-key]") : null, y: scrollY };
  };
  // Whether a row is in the list of another page too: another one may not come under the pointer.
  const isStill = (row, other) => {
    let path = "";
    for (let node = row; node && node !== main; node = node.parentElement) {
      if (node.dataset.key) path = `[data-key="${CSS.escape(node.dataset.key)}"] ${path}`;
    }
    return other.querySelector(path) !== null;
  };
  // Scrolls by as much as it has moved, on a short page too; whether that was possible.
  const keep = ({ around, y }) => {
    main.style.minHeight = "";
    const found = around.find(([node]) => main.contains(node));
    const to = y + (found ? found[0].getBoundingClientRect().top + scrollY - found[1] : 0);
    const isShort = to + root.clientHeight > root.scrollHeight;
    if (isShort) main.style.minHeight = `${to + root.clientHeight - main.getBoundingClientRect().top - scrollY}px`;
    if ((found || isShort) && Math.abs(scrollY - to) > 0.5) scrollTo({ top: to, behavior: "instant" });
    return to > -1;
  };
  // Otherwise the page stays as it is until they point elsewhere.
  const hold = (isHeld) => note("held", isHeld);
  const release = () => {
    if (!document.body.classList.contains("held") || releasing) return;
    releasing = setTimeout(() => {
      releasing = 0;
      released = Date.now();
      look();
    }, Math.max(0, released + RELEASE_MS - Date.now()));
  };
  const point = (event) => {
    hand = { x: event.clientX, y: event.clientY };
    touched = Date.now();
    usesKeys = false;
  };
  for (const kind of ["pointermove", "pointerdown", "pointerover"]) document.addEventListener(kind, point);
  document.addEventListener("pointerover", release);
  root.addEventListener("pointerleave", (event) => {
    // A finger that is lifted comes back to where it was.
    if (event.pointerType !== "mouse") return;
    hand = null;
    release();
  });
  // Whoever dictates, or goes through the page with a screen reader, presses no key.
  for (const kind of ["input", "focusin"]) {
    document.addEventListener(kind, () => {
      if (!busy) touched = Date.now();
    });
  }
  document.addEventListener("keydown", () => {
    touched = Date.now();
    usesKeys = true;
    release();
  });

  let busy = false;
  const isAsking = () => document.querySelector("details.ask[open], dialog[open]");
  const renew = async () => {
    const answer = await ask(location.href, "text/html");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const other = fresh.getElementById("main");
    if (!other) return;
    const held = pointed();
    if (held.row && !isStill(held.row, other)) return hold(true);
    const focused = document.activeElement;
    const was = main.cloneNode(true);
    // Two that scroll by as much would scroll too far.
    root.classList.toggle("steady", held.around.length > 0);
    morph(main, other);
    const isDone = keep(held);
    hold(!isDone);
    if (!isDone) {
      morph(main, was);
      scrollTo({ top: held.y, behavior: "instant" });
    } else if (document.title !== fresh.title) document.title = fresh.title;
    if (focused && focused !== document.activeElement) {
      // What had the focus may be gone: whoever uses keys goes on from the page, not from its frame.
      (document.contains(focused) ? focused : main).focus({ preventScroll: true });
    }
    tick();
  };
  let again = false;
  const look = async () => {
    if (document.hidden || !main?.dataset.live || isAsking()) return;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    try {
      const mark = await (await ask(main.dataset.live, "application/json")).json();
      if (mark.now !== main.dataset.now) await renew();
      note("lost", false);
    } catch (_) {
      // The node is away; the next look tells.
      note("lost", true);
    } finally {
      busy = false;
      if (again) look();
    }
  };

  // --- One tab listens to what happens, and tells the others: a browser has few connections ---
  const heard = (changed) => {
    const run = new URLSearchParams(main?.dataset.live?.split("?")[1]).get("run");
    if (!run || changed.all || changed.runs.includes(run)) look();
  };
  const listen = () => {
    const others = new BroadcastChannel("moa.live");
    others.addEventListener("message", (message) => heard(message.data));
    const tell = (changed) => {
      others.postMessage(changed);
      heard(changed);
    };
    const follow = () => new Promise((end) => {
      const source = new EventSource("/live/stream");
      // What happened while nobody listened.
      source.addEventListener("open", () => tell({ runs: [], all: true }));
      source.addEventListener("message", (message) => tell(JSON.parse(message.data)));
      source.addEventListener("error", () => {
        look();
        if (source.readyState === EventSource.CLOSED) setTimeout(end, 5000);
      });
    });
    const lead = () => navigator.locks.request("moa.live", follow).then(lead);
    lead();
  };

  // A page with a filter listens for what fits it, as long as somebody sees it: a browser has few
  // connections. It takes up behind what it has heard of last.
  const listenTo = (path) => {
    const to = new URL(path, location.href);
    let source = null;
    const close = () => {
      source?.close();
      source = null;
    };
    const open = () => {
      if (document.hidden || source) return;
      source = new EventSource(to);
      source.addEventListener("open", look);
      source.addEventListener("message", (message) => {
        to.searchParams.set("after", message.lastEventId);
        look();
      });
      source.addEventListener("error", () => {
        look();
        if (source?.readyState !== EventSource.CLOSED) return;
        close();
        setTimeout(open, 5000);
      });
    };
    document.addEventListener("visibilitychange", () => document.hidden ? close() : open());
    open();
  };

  // --- Logs that grow -------------------------------------------------------------------------
  const visible = (text) => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : c === "\u007f" ? "\u2421" : "\ufffd");
  const tail = async (log) => {
    if (document.hidden || log.dataset.busy) return;
    log.dataset.busy = "1";
    try {
      const answer = await ask(`${log.dataset.log}?from=${log.dataset.next}`, "text/plain");
      const text = await answer.text();
      const next = answer.headers.get("x-next");
      if (next && next !== log.dataset.next) {
        const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
        const held = pointed();
        root.classList.toggle("steady", held.around.length > 0);
        log.append(visible(text));
        keep(held);
        log.dataset.next = next;
        if (atEnd) log.scrollTop = log.scrollHeight;
      }
    } catch (_) {
      // It is asked for again.
    } finally {
      delete log.dataset.busy;
    }
  };

  // --- Keys -----------------------------------------------------------------------------------
  const rows = () => [...document.querySelectorAll("tr[data-to], li[data-to]")];
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const to = all[Math.min(all.length - 1, Math.max(0, at + by))];
    to.querySelector("a")?.focus();
  };
  const help = () => {
    let dialog = document.getElementById("keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      const list = document.createElement("table");
      const row = (key, what) => {
        const tr = list.insertRow();
        const kbd = document.createElement("kbd");
        kbd.textContent = key;
        tr.insertCell().append(kbd);
        tr.insertCell().textContent = what;
      };
      for (const link of document.querySelectorAll("[data-go]")) row(`g ${link.dataset.go}`, link.textContent);
      for (const [key, what] of [["/", "search"], ["j", "next row"], ["k", "row before"], ["e", "first error"], ["?", "these keys"]]) {
        row(key, what);
      }
      const title = document.createElement("h2");
      title.textContent = "Keys";
      dialog.append(title, list);
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  let going = false;
  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      for (const open of document.querySelectorAll("details.ask[open]")) {
        open.open = false;
        open.querySelector("summary").focus();
      }
      if (writes) writes.blur();
      return;
    }
    if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
    if (going) {
      going = false;
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) location.assign(link.href);
      return;
    }
    const search = document.querySelector("input[type=search]");
    if (event.key === "g") going = true;
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?") help();
    else if (event.key === "e") document.querySelector("[data-error]")?.scrollIntoView({ block: "center" });
    else if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
    }
  });
  document.addEventListener("click", (event) => {
    for (const open of document.querySelectorAll("details.ask[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
    const row = event.target.closest("tr[data-to]");
    const own = event.target.closest("a, button, input, details, summary, label");
    if (row && !own && !String(getSelection())) location.assign(row.dataset.to);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("form.filter select")) event.target.form.requestSubmit();
    if (event.target.matches("input[data-all]")) {
      for (const box of document.querySelectorAll("input[name=run]")) box.checked = event.target.checked;
    }
    count();
  });

  // On a phone the list of pages is wider than the screen.
  const here = document.querySelector(".side nav [aria-current]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 60;
  for (const log of document.querySelectorAll("pre.log")) log.scrollTop = log.scrollHeight;
  tick();
  setInterval(tick, 1000);
  // What no event tells of, such as alerts, is looked for now and then.
  const canListen = navigator.locks && window.BroadcastChannel && window.EventSource;
  setInterval(look, canListen ? 15000 : 1000);
  if (canListen && main?.dataset.stream) listenTo(main.dataset.stream);
  else if (canListen && main?.dataset.live) listen();
  setInterval(() => {
    for (const log of document.querySelectorAll("pre[data-log]")) tail(log);
  }, 1000);
  document.addEventListener("visibilitychange", look);
})();
