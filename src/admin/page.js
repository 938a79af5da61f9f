'use strict';
// Asks /status every two seconds, keeps what it heard for five minutes, and shows it. Text is set, never markup. What is wrong
// is judged here, from what changed in the last minute; the gateway itself judges certificates only.

const EVERY = 2000, KEPT = 300000, MINUTE = 60000;
const heard = []; // { at, status }, the oldest first
const at = (id) => document.getElementById(id);
const SVG = at('traffic').namespaceURI;

// === words and numbers

const count = (n) => n.toLocaleString('en');
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? '' : 's'}`;
const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);
const pick = (counts, words) => words.reduce((sum, word) => sum + (counts[word] || 0), 0);
const seen = (counts) => Object.keys(counts).filter((word) => counts[word] > 0);
const clock = (time) => new Date(time).toLocaleTimeString('en-GB');
const rate = (n) => `${n < 10 ? n.toFixed(1) : Math.round(n)}/s`;

function seconds(s) {
  if (s === null) return '–';
  if (s === Infinity) return 'off the scale';
  if (s < 0.001) return `${(s * 1000).toFixed(1)} ms`;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  return `${s < 10 ? Number(s.toFixed(1)) : Math.round(s)} s`;
}

function span(s) {
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 9) return `${d} d`;
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min` : `${Math.floor(s)} s`;
}

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  while (n >= 1024 && unit < 3) [n, unit] = [n / 1024, unit + 1];
  return `${unit && n < 10 ? Number(n.toFixed(1)) : Math.round(n)} ${units[unit]}`;
}

// === what was heard

const latest = () => heard[heard.length - 1].status;

// The newest that is at least so old, else the oldest there is.
const ago = (ms) => (heard.findLast((one) => one.at <= Date.now() - ms) || heard[0]).status;

// What was counted meanwhile.
function gained(counts, before) {
  return Object.fromEntries(Object.entries(counts).map(([word, n]) => [word, n - (before[word] || 0)]));
}

function since(dist, before) {
  const buckets = dist.buckets.map(({ le, count }, i) => ({ le, count: count - before.buckets[i].count }));
  return { buckets, count: dist.count - before.count };
}

// As Prometheus reckons it: evenly spread within a bucket.
function quantile({ buckets, count }, q) {
  if (!count) return null;
  const i = buckets.findIndex((bucket) => bucket.count >= q * count);
  const [low, below] = i ? [buckets[i - 1].le, buckets[i - 1].count] : [0, 0];
  if (buckets[i].le === null) return Infinity;
  return low + (buckets[i].le - low) * (q * count - below) / (buckets[i].count - below);
}

// One point for each pair of neighbours, where `value` finds one.
function points(value) {
  return heard.slice(1).map((one, i) => [one.at, value(one.status, heard[i].status, (one.at - heard[i].at) / 1000)])
    .filter(([, v]) => v !== null);
}

const mean = (now, then) => now.count > then.count ? (now.sum_seconds - then.sum_seconds) / (now.count - then.count) : null;

// === the judgement

const FORGED = ['signature-missing', 'signature-invalid', 'response-replayed', 'response-rolled-back', 'clock-skew',
  'identity-mismatch', 'etag-conflict'];
const FAILED = ['server_error', 'timeout', 'connect', 'tls', 'too_large', 'malformed'];

// Everything that somebody should look at, the worst first. No numbers, so that it is read out only when it changes.
function troubles(now, before) {
  const calls = gained(now.upstream.requests, before.upstream.requests);
  const why = gained(now.withheld, before.withheld), refused = gained(now.refusals, before.refusals);
  const named = (counts, words) => seen(counts).filter((word) => words.includes(word)).join(', ');
  const { circuit } = now.upstream, found = [];
  const tell = (is, words) => { if (is) found.push(words); };
  tell(now.audit && !now.audit.writable, 'the audit record cannot be written');
  tell(pick(why, FORGED) > 0, `answers are not genuine (${named(why, FORGED)})`);
  tell(circuit === 'open', 'the upstream fails, and is left alone for a while');
  tell(circuit === 'half_open', 'the upstream failed, and is being tried again');
  tell(circuit === 'closed' && now.upstream.suspended_seconds > 0, 'the upstream asked for a pause');
  tell(calls.rejected_key > 0, 'the upstream rejects the API key (rejected_key, 401)');
  tell(calls.forbidden > 0, 'the upstream forbids calls, by address or quota (forbidden, 403)');
  tell(circuit === 'closed' && pick(calls, FAILED) * 10 > total(calls), `calls to the upstream fail (${named(calls, FAILED)})`);
  tell(total(gained(now.upstream.rate_limited, before.upstream.rate_limited)) > 0, 'the rate budget is used up');
  tell(pick(refused, ['overloaded', 'internal']) > 0, `requests are refused (${named(refused, ['overloaded', 'internal'])})`);
  tell(now.cache.journeys > 0.95 * now.cache.max_journeys, 'there is hardly room for new journeys');
  for (const one of now.secrets) tell(!one.usable, `the new ${one.name} is unusable; the last good one is in force`);
  for (const one of now.tls) tell(daysLeft(one) < 7, `the TLS certificate (${one.role}) ${ending(one)}`);
  tell(!now.config.last_reload_successful, 'the configuration read last was refused; the one before is in force');
  tell(Math.abs(now.upstream.clock_offset_seconds) >= 10, 'this clock and the upstream’s differ');
  return found;
}

const MISSING = { serving: 'it is still starting', not_draining: 'it is draining and about to end' };
const DRAWN = 'image/svg+xml';
const SIGNS = {
  healthy: 'M12 2a10 10 0 1 0 .01 0M7.5 12.5l3 3 6-6.5', degraded: 'M12 3 22 20.5H2ZM12 9.5v5m0 3v.01',
  unready: 'M12 2a10 10 0 1 0 .01 0M8.5 8.5l7 7m0-7-7 7', lost: 'M12 2a10 10 0 1 0 .01 0M5 19 19 5',
};

function judge(now, before) {
  if (!now.ready) return headline('unready', 'Not ready: ', now.missing.map((name) => MISSING[name] || name), '');
  const found = troubles(now, before);
  if (found.length) return headline('degraded', 'Degraded: ', found, '');
  headline('healthy', 'Healthy', [], 'It takes requests, and no trouble was seen in the last minute.');
}

// The first trouble is the headline, less its details in brackets, which come below with the others.
function headline(state, word, [first = '', ...others], otherwise) {
  const [, brief, details] = /^(.*?)(?: \(([^()]*)\))?$/.exec(first);
  put('headline', word + brief);
  document.title = `${word}${brief} · otk-gateway`;
  const below = [details || otherwise, ...others.map((words) => `and ${words}`)];
  rows(at('also'), below.filter(Boolean).map((words) => ['li', words]));
  if (at('state').dataset.state === state) return;
  at('state').dataset.state = state;
  at('sign').setAttribute('d', SIGNS[state]);
  const colour = { healthy: '#179c58', degraded: '#e09a1a' }[state] || '#d6372d';
  document.querySelector('link[rel=icon]').href = `data:${DRAWN},` +
    encodeURIComponent(`<svg xmlns="${SVG}" viewBox="0 0 24 24" fill="none" stroke="${colour}" stroke-width="3"><path d="${SIGNS[state]}"/></svg>`);
}

// === putting it on the page

function put(id, text, mark) {
  const node = at(id);
  if (node.textContent !== text) node.textContent = text;
  if (mark) node.dataset.mark = mark; else delete node.dataset.mark;
}

// An element from [name, text or children, attributes]; `width` and `height` in per cent go to its style.
function element([name, inside, { width, height, ...attributes } = {}]) {
  const node = document.createElement(name);
  if (Array.isArray(inside)) node.append(...inside.map(element)); else node.textContent = inside;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (width !== undefined) node.style.width = `${width}%`;
  if (height !== undefined) node.style.height = `${height}%`;
  return node;
}

// Replaced only when they differ, so that what somebody has selected stays.
function rows(node, wanted) {
  const key = JSON.stringify(wanted);
  if (node.wanted === key) return;
  node.wanted = key;
  node.replaceChildren(...wanted.map(element));
}

const table = (id, wanted) => rows(document.querySelector(`#${id} tbody`), wanted.length ? wanted :
  [['tr', [['td', 'none', { class: 'none', colspan: 4 }]]]]);
const bar = (part, whole) => ['div', [['i', '', { width: whole ? Math.min(100, 100 * part / whole) : 0 }]], { class: 'bar', 'aria-hidden': true }];
const marked = (name, text, mark) => [name, text, mark ? { 'data-mark': mark } : {}];

function fill(id, text, part, whole) {
  put(id, text);
  at(`${id}-bar`).style.width = `${whole ? Math.min(100, 100 * part / whole) : 0}%`;
}

// Its span grows with what there is to show, from one minute to five.
function chart(id, keys, lines, top, scale) {
  const svg = at(id), now = Date.now(), minutes = Math.min(5, Math.max(1, Math.ceil((now - heard[0].at) / MINUTE)));
  const range = `${scale} in ${minutes} min`;
  rows(at(`${id}-key`), [...keys.map((text, i) => ['span', text, { class: i ? 'key two' : 'key' }]), ['span', range]]);
  svg.setAttribute('aria-label', `${keys.join(', ')}; ${range}`);
  const x = (time) => (300 - (now - time) / 200 / minutes).toFixed(1), y = (v) => (63 - 60 * Math.min(1, v / top)).toFixed(1);
  const paths = lines.flatMap((line, i) => {
    const parts = []; // broken where nothing was known for a while
    line.forEach((point, n) => n && point[0] - line[n - 1][0] < 3 * EVERY ? parts.at(-1).push(point) : parts.push([point]));
    const stroke = parts.map((part) => 'M' + part.map(([time, v]) => `${x(time)} ${y(v)}`).join('L') + 'h0').join('');
    const area = parts.map((part) => `M${x(part[0][0])} 64L${part.map(([time, v]) => `${x(time)} ${y(v)}`).join('L')}V64Z`).join('');
    return i ? [['two', stroke]] : [['area', area], ['one', stroke]];
  });
  svg.replaceChildren(...paths.map(([name, d]) => {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('class', name);
    path.setAttribute('d', d);
    return path;
  }));
}

// 1, 2 or 5 times a power of ten.
function roundUp(v) {
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 5, 10].find((n) => n * power >= v * 0.999) * power;
}

const highest = (...lines) => Math.max(0, ...lines.flat().map(([, v]) => v));
const last = (line, show) => line.length && line.at(-1)[0] === heard.at(-1).at ? show(line.at(-1)[1]) : '–';

// === the cards

function answers(now, before) {
  put('released', count(total(now.releases)));
  put('released-as', Object.entries(now.releases).map(([word, n]) => `${count(n)} ${word.replace('_', ' ')}`).join(' · '));
  put('withheld', count(total(now.withheld)));
  put('refused', count(total(now.refusals)));
  const reasons = [...new Set([...seen(now.withheld), ...seen(now.refusals)])];
  const most = (word) => Math.max(now.withheld[word] || 0, now.refusals[word] || 0);
  const fresh = (word) => Math.max(pick(now.withheld, [word]) - pick(before.withheld, [word]), pick(now.refusals, [word]) - pick(before.refusals, [word]));
  const longest = Math.max(...reasons.map(most));
  table('reasons', reasons.sort((a, b) => most(b) - most(a)).map((word) => ['tr', [
    ['th', [['span', word], bar(most(word), longest)], { scope: 'row' }],
    ['td', count(now.withheld[word] || 0)], ['td', count(now.refusals[word] || 0)],
    ['td', fresh(word) ? `+${count(fresh(word))}` : '·', fresh(word) ? {} : { class: 'none' }]]]));
}

function cache({ cache }) {
  const asked = total(cache.requests), { hit } = cache.requests;
  put('ratio', asked ? `${(100 * hit / asked).toFixed(hit === asked ? 0 : 1)} %` : '–');
  put('ratio-of', `${plural(hit, 'hit')} · ${count(cache.requests.miss)} missed · ${count(cache.requests.stale)} stale · ${count(cache.requests.collapsed)} shared`);
  const hits = points((n, b, s) => (n.cache.requests.hit - b.cache.requests.hit) / s);
  const others = points((n, b, s) => total(gained(n.cache.requests, b.cache.requests)) / s).map(([time, v], i) => [time, v - hits[i][1]]);
  const top = roundUp(highest(hits, others) || 1);
  chart('traffic', [`hits ${last(hits, rate)}`, `others ${last(others, rate)}`], [hits, others], top, `0 – ${top}/s`);
  fill('images', `${count(cache.images)} in ${bytes(cache.image_bytes)} of ${bytes(cache.image_capacity)}`, cache.image_bytes, cache.image_capacity);
  fill('journeys', `${count(cache.journeys)} of ${count(cache.max_journeys)}`, cache.journeys, cache.max_journeys);
}

const turns = (upstream) => Math.max(1, Math.floor(upstream.requests_per_second));
const used = ({ upstream }) => Math.max(0, turns(upstream) - upstream.free_turns);

// Of the last minutes if anything happened in them, else since start.
function lately(now, before, caption) {
  const recent = since(now, before);
  put(caption, recent.count ? 'last 5 min' : 'since start');
  return recent.count ? recent : now;
}

function upstream(now, before) {
  const { latency, requests, circuit, suspended_seconds: left, clock_offset_seconds: offset } = now.upstream;
  const shown = lately(latency, before.upstream.latency, 'latency-of');
  put('p50', seconds(quantile(shown, 0.5)));
  put('p95', seconds(quantile(shown, 0.95)));
  put('circuit', circuit.replace('_', ' '), circuit === 'closed' ? 'good' : 'bad');
  const line = points((n, b) => mean(n.upstream.latency, b.upstream.latency)), top = roundUp(highest(line) || 1);
  chart('latency', [`mean ${last(line, seconds)}`], [line], top, `0 – ${seconds(top)}`);
  const peak = Math.max(...heard.map((one) => used(one.status))), denied = total(now.upstream.rate_limited);
  fill('rate', `${used(now)} of ${count(turns(now.upstream))} used, lately up to ${peak}${denied ? `; ${count(denied)} got none` : ''}`, used(now), turns(now.upstream));
  const fresh = gained(requests, before.upstream.requests);
  table('outcomes', seen(requests).sort((a, b) => requests[b] - requests[a]).map((word) => ['tr', [
    ['th', [['span', word], bar(requests[word], total(requests))], { scope: 'row' }],
    ['td', count(requests[word])], ['td', fresh[word] ? `+${count(fresh[word])}` : '·', fresh[word] ? {} : { class: 'none' }]]]));
  put('clock', left ? `No calls for another ${left} s.` : Math.abs(offset) < 2 ? 'Its clock agrees with ours.' : `Its clock is ${Math.abs(offset).toFixed(1)} s ${offset < 0 ? 'behind' : 'ahead of'} ours.`);
}

function exposure(now, before) {
  const { exposure } = now, bound = exposure.max_seconds, shown = lately(exposure, before.exposure, 'exposure-of');
  put('age50', seconds(quantile(shown, 0.5)));
  put('age95', seconds(quantile(shown, 0.95)));
  put('bound', seconds(bound));
  const line = points((n, b) => mean(n.exposure, b.exposure)), top = bound || roundUp(highest(line) || 1);
  chart('exposure', [`mean ${last(line, seconds)}`], [line], top, `0 – ${seconds(top)}`);
  const each = shown.buckets.map(({ le, count }, i) => ({ le, n: count - (i ? shown.buckets[i - 1].count : 0) }));
  const most = Math.max(1, ...each.map(({ n }) => n));
  const ends = Math.max(each.findIndex(({ le }) => le === null || le >= bound), each.findLastIndex(({ n }) => n > 0));
  const name = (le) => le === null ? 'more' : le < 60 ? `${le}s` : `${le / 60}m`;
  rows(at('ages'), each.slice(0, ends + 1).map(({ le, n }) => ['li', [
    ['b', n ? n.toLocaleString('en', { notation: 'compact' }) : ''], ['i', '', { height: n && Math.max(3, 100 * n / most) }], ['span', name(le)],
  ], bound && (le === null || le > bound) ? { class: 'over' } : {}]));
}

const daysLeft = (one) => Math.floor((Date.parse(one.not_after) - Date.now()) / 86400000);
const ending = (one) => daysLeft(one) < 0 ? 'has ended' : `ends in ${plural(daysLeft(one), 'day')}`;

function rest(now) {
  const soon = now.certificates_expiring;
  put('e7', count(soon['7d']), soon['7d'] ? 'warn' : '');
  put('e30', count(soon['30d']));
  put('e90', count(soon['90d']));
  const { audit, signature_checks: checks, connections, connections_refused: turnedAway } = now;
  const row = (name, text, mark) => ['div', [['dt', name], marked('dd', text, mark)]];
  const dropped = now.log_lines_dropped + now.spans_dropped;
  rows(at('checks'), [
    row('audit record', !audit ? 'not kept' : (audit.writable ? 'written' : 'cannot be written') +
      (audit.failures ? `, ${plural(audit.failures, 'failure')}` : ''), !audit ? '' : !audit.writable ? 'bad' : audit.failures ? 'warn' : 'good'),
    row('configuration', now.config.last_reload_successful ? 'in force' : 'last reload refused', now.config.last_reload_successful ? 'good' : 'warn'),
    row('signatures', `${count(checks.valid)} valid · ${count(checks.invalid)} invalid · ${count(checks.missing)} missing`, checks.invalid + checks.missing ? 'warn' : ''),
    row('requests', Object.entries(now.requests).filter(([, n]) => n).map(([word, n]) => `${count(n)} ${word}`).join(' · ') || 'none'),
    row('connections', `${count(connections.data)} data · ${count(connections.admin)} admin` + (total(turnedAway) ? ` · ${count(total(turnedAway))} refused` : '')),
    row('dropped', `${plural(now.log_lines_dropped, 'log line')} · ${plural(now.spans_dropped, 'span')}`, dropped ? 'warn' : ''),
  ]);
  const failures = (one) => one.failures ? `, ${plural(one.failures, 'failure')}` +
    (one.last_failure_seconds === null ? '' : `, the last ${span(one.last_failure_seconds)} ago`) : '';
  table('secrets', [
    ...now.secrets.map((one) => ['tr', [['th', one.name, { scope: 'row' }], ['td', span(one.age_seconds)],
      marked('td', (one.usable ? 'in force' : 'new value unusable') + failures(one), one.usable ? 'good' : 'bad')]]),
    ['tr', [['th', 'keys that verify', { scope: 'row' }], ['td', ''], marked('td', `${now.upstream.keys.length} in force`, now.upstream.keys.length ? 'good' : 'bad')]],
    ...now.tls.map((one) => ['tr', [['th', `TLS, ${one.role}`, { scope: 'row' }], ['td', ''],
      marked('td', ending(one), daysLeft(one) < 7 ? 'bad' : daysLeft(one) < 30 ? 'warn' : 'good')]]),
  ]);
}

function show() {
  const now = latest(), before = ago(KEPT);
  delete document.body.dataset.stale;
  judge(now, ago(MINUTE));
  put('version', now.version);
  put('uptime', `up ${span(now.uptime_seconds)}`);
  put('flying', `${plural(now.in_flight_requests, 'request')} under way`);
  put('asof', `as of ${clock(heard.at(-1).at)}`);
  answers(now, before);
  cache(now);
  upstream(now, before);
  exposure(now, before);
  rest(now);
}

function lose(why) {
  const known = heard.length ? `Everything below is from ${clock(heard.at(-1).at)}.` : 'There is nothing to show yet.';
  headline('lost', 'Connection to the gateway lost', [], `${why}; it is tried again every two seconds. ${known}`);
  document.body.dataset.stale = '';
}

const began = (one) => one.at - 1000 * one.status.uptime_seconds;
const isAnother = (one, before) => one.status.uptime_seconds < before.status.uptime_seconds || began(one) - began(before) > 6000;

async function poll() {
  let answer;
  try {
    answer = await fetch('status', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) return lose(`It answered ${answer.status}`);
    const status = await answer.json();
    const one = { at: Date.now(), status };
    if (heard.length && isAnother(one, heard.at(-1))) heard.length = 0; // another process counts anew
    heard.push(one);
  } catch {
    return lose(answer ? 'Its answer broke off' : 'No answer');
  }
  while (heard.length > 1 && heard[1].at <= Date.now() - KEPT) heard.shift();
  show();
}

(async () => {
  for (;;) {
    await poll().catch(() => lose('It answered what this page does not understand'));
    await new Promise((wake) => setTimeout(wake, EVERY));
  }
})();
