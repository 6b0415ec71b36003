"use strict";
// sin^2 of the angle of a network one neuron wide, and Theorems A to C and Lemma C.5 over it; n = 1 in theory.md's letters.
const dlinearExplore = (() => {
  // Layers: W~(t) = c + sigma xi_t with standard normals of a small generator (mulberry32, Box-Muller).
  const layers = (state) => {
    let a = (state.seed + 1) * 0x9e3779b9 >>> 0;
    const uniform = () => {
      a = (a + 0x6d2b79f5) >>> 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return Float64Array.from({ length: state.depth }, () => state.c + (state.sigma ? state.sigma * normal() : 0));
  };

  // Eqs. (D), (S): delta(t) = -(P_s/w_t)(E_s P_s + E_s R), E_s = W_s^T - 1 composed from deviations.
  const exact = (wide, y, shortfalls) => {
    const depth = wide.length;
    const states = new Float64Array(depth + 1);
    const missed = new Float64Array(depth + 1);
    states[0] = 1;
    for (let t = 0; t < depth; t++) states[t + 1] = states[t] * (1 + wide[t] / depth);
    for (let s = depth - 1; s >= 0; s--) missed[s] = missed[s + 1] + wide[s] / depth * (1 + missed[s + 1]);
    const residual = states[depth] - y;
    const full = (t) => states[depth] / (1 + wide[t] / depth) * residual;
    let norm = 0;
    for (let t = 0; t < depth; t++) norm += full(t) ** 2;
    return shortfalls.map((m) => {
      const h = depth - m;
      let squares = 0, cross = 0;
      for (let t = 0; t < m; t++) {
        const s = t + h;
        const delta = -states[s] / (1 + wide[t] / depth) * missed[s] * (states[s] + residual);
        squares += delta * delta;
        cross += delta * full(t);
      }
      return (squares - cross * cross / norm) / (norm + 2 * cross + squares);
    });
  };

  // Theorem A with n = 1: K_A m(m+1)(2m+1)/(6 T^3), c the largest |W~(t)|.
  const theoremA = (depth, c, residual, m) => {
    if (!(c < depth)) return Infinity;
    const low = Math.exp((depth - 1) * Math.log1p(-c / depth)) * Math.abs(residual);
    const constant = (c * Math.exp(c) * (Math.exp(c) + Math.abs(residual)) / low) ** 2;
    return constant * m * (m + 1) * (2 * m + 1) / (6 * depth ** 3);
  };

  // Theorems B and C with n = 1: q = sigma^2 (2X - y)^2/(2 T R^2), C = K(c, y) = c^2 (2X - y)^2/(3 R^2).
  const constants = (state) => {
    const end = Math.exp(state.c);
    const ratio = ((2 * end - state.y) / (end - state.y)) ** 2;
    return { quadratic: state.sigma ** 2 * ratio / (2 * state.depth), cubic: state.c ** 2 * ratio / 3 };
  };
  const law = ({ quadratic, cubic }, depth, m) =>
    quadratic * m * (m + 1) / depth ** 2 + cubic * m * (m + 1) * (2 * m + 1) / (2 * depth ** 3);

  // Lemma C.5: 1 - f^2 = Var/I2 of phi, which is phi(1) but on the last eps; Simpson's rule.
  const lemmaC5 = (c, y, eps) => {
    const end = Math.exp(c), last = end * (end - y), steps = 400;
    let mean = 0, square = 0;
    for (let k = 0; k <= steps; k++) {
      const rise = end * Math.expm1(-c * eps * k / steps);
      const psi = rise * (2 * end + rise - y);
      const weight = (k === 0 || k === steps ? 1 : k % 2 ? 4 : 2) * eps / (3 * steps);
      mean += weight * psi;
      square += weight * psi * psi;
    }
    return (square - mean * mean) / (square + 2 * last * mean + last * last);
  };

  const spaced = (depth) => {
    const found = new Set();
    for (let k = 0; k <= 40; k++) found.add(Math.round((depth - 1) ** (k / 40)));
    return [...found].filter((m) => m >= 1 && m < depth);
  };
  return { layers, exact, theoremA, constants, law, lemmaC5, spaced };
})();

(() => {
  const plot = document.getElementById("x-plot");
  if (!plot) return;
  const field = (name) => document.getElementById(`x-${name}`);
  const NAMES = ["c", "y", "depth", "sigma", "m", "seed"];
  const BOX = { left: 56, right: 600, top: 12, bottom: 300 };
  const CURVES = [
    ["Theorem A: never above", "#a3195b", "7 3"],
    ["Theorems B, C: expected", "#0b5394", ""],
    ["Lemma C.5: T → ∞, σ = 0", "#00694b", "2 3"],
  ];

  const read = () => {
    const value = Object.fromEntries(NAMES.map((name) => [name, Number(field(name).value)]));
    const depth = Math.round(10 ** value.depth);
    const m = Math.max(1, Math.min(depth - 1, Math.round((depth - 1) ** value.m)));
    return { ...value, depth, m };
  };

  const make = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    plot.append(element);
    return element;
  };

  const power = (k) => `10${String(k).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d])}`;

  const legend = document.getElementById("x-legend");
  for (const [said, colour, dashes] of [["measured, this network", "#444", null], ...CURVES]) {
    const item = document.createElement("li");
    const mark = dashes === null ? `<circle cx="16" cy="6" r="4" fill="${colour}"/>`
      : `<line x1="0" x2="32" y1="6" y2="6" stroke="${colour}" stroke-width="2.5" stroke-dasharray="${dashes}"/>`;
    item.innerHTML = `<svg viewBox="0 0 32 12" aria-hidden="true">${mark}</svg>${said}`;
    legend.append(item);
  }

  const draw = (state, ms, sin2, curves) => {
    plot.replaceChildren();
    const { width, height } = plot.getBoundingClientRect();
    BOX.right = width - 12;
    BOX.bottom = height - 48;
    const positive = [...sin2, ...curves[1]].filter((v) => v > 0 && Number.isFinite(v));
    const low = Math.max(-24, Math.floor(Math.log10(Math.min(1e-2, ...positive)))), high = 1;
    const right = Math.ceil(Math.log10(state.depth));
    const x = (m) => BOX.left + (BOX.right - BOX.left) * Math.log10(m) / right;
    const y = (v) => BOX.bottom - (BOX.bottom - BOX.top) * (Math.log10(v) - low) / (high - low);
    for (let k = 0; k <= right; k++) {
      make("line", { x1: x(10 ** k), x2: x(10 ** k), y1: BOX.top, y2: BOX.bottom, stroke: "#e3e3e3" });
      make("text", { x: x(10 ** k), y: BOX.bottom + 18, "text-anchor": "middle", "font-size": 13 }, power(k));
    }
    const stride = Math.ceil((high - low) / 8);
    for (let k = low; k <= high; k += stride) {
      make("line", { x1: BOX.left, x2: BOX.right, y1: y(10 ** k), y2: y(10 ** k), stroke: "#e3e3e3" });
      make("text", { x: BOX.left - 6, y: y(10 ** k) + 4, "text-anchor": "end", "font-size": 13 }, power(k));
    }
    make("text", { x: (BOX.left + BOX.right) / 2, y: BOX.bottom + 40, "text-anchor": "middle", "font-size": 14 }, "m = T − h");
    make("text", { x: 14, y: (BOX.top + BOX.bottom) / 2, "text-anchor": "middle", "font-size": 14, transform: `rotate(-90 14 ${(BOX.top + BOX.bottom) / 2})` }, "sin²θ");
    const shown = (v) => v > 10 ** low && v < 10 ** high;
    ms.forEach((m, i) => shown(sin2[i]) && make("circle", { cx: x(m), cy: y(sin2[i]), r: 3.6, fill: "#444" }));
    curves.forEach((values, k) => {
      const path = ms.map((m, i) => [m, values[i]]).filter(([, v]) => shown(v));
      const points = path.map(([m, v]) => `${x(m).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
      make("polyline", { points, fill: "none", stroke: CURVES[k][1], "stroke-width": 2, "stroke-dasharray": CURVES[k][2] });
    });
    make("line", { x1: x(state.m), x2: x(state.m), y1: BOX.top, y2: BOX.bottom, stroke: "#444", "stroke-dasharray": "1 4", "stroke-width": 2 });
  };

  const number = (v) => {
    if (v === 0 || (v >= 1e-3 && v < 1e4)) return String(Number(v.toPrecision(3)));
    const [digits, exponent] = v.toExponential(2).split("e");
    return `${digits} · ${power(Number(exponent))}`;
  };

  const words = (state, sin2, bound, law) => {
    const end = Math.exp(state.c), gap = Math.abs(end - state.y), double = Math.abs(2 * end - state.y);
    const angle = Math.asin(Math.sqrt(Math.min(1, sin2))) * 180 / Math.PI;
    const said = [`Horizon h = ${state.depth - state.m} of T = ${state.depth}: sin²θ = ${number(sin2)}, an angle of ${number(angle)} degrees.`];
    if (state.c === 0 && state.sigma === 0) said.push("Identity layers: every horizon is back-propagation.");
    else if (gap < 0.05) said.push("y is close to e^c: the network is nearly trained, and the angle blows up like 1/R².");
    else if (double < 0.05) said.push("y is close to 2e^c: the constants of Theorems B and C vanish; smooth layers decay with order 5.");
    else {
      const { quadratic, cubic } = dlinearExplore.constants(state);
      const cross = state.depth * quadratic / cubic;
      if (state.sigma === 0) said.push("Smooth in depth: cubic decay, order 3 (Theorem B, Lemma C.5).");
      else if (cross > state.depth) said.push("Rough in depth: quadratic decay, order 2, at every horizon (Theorem C).");
      else said.push(`Rough in depth: order 2 below m* = ${number(cross)}, order 3 above (Theorems C and D).`);
      said.push(`The prediction is ${number(law)}.`);
    }
    said.push(bound < 1 ? `Theorem A allows at most ${number(bound)}.` : "Theorem A's bound is above 1 here and says nothing.");
    return said.join(" ");
  };

  const show = () => {
    const state = read();
    for (const name of NAMES) document.getElementById(`o-${name}`).textContent = String(state[name]);
    const said = document.getElementById("x-verdict");
    const wide = dlinearExplore.layers(state);
    const end = wide.reduce((p, w) => p * (1 + w / state.depth), 1);
    if (Math.abs(end - state.y) < 1e-9) {
      plot.replaceChildren();
      said.textContent = "y is the network's output: the gradient is zero and no angle is defined.";
      return;
    }
    const ms = [...new Set([...dlinearExplore.spaced(state.depth), state.m])].sort((a, b) => a - b);
    const sin2 = dlinearExplore.exact(wide, state.y, ms);
    const largest = wide.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const pair = dlinearExplore.constants(state);
    const curves = [
      ms.map((m) => dlinearExplore.theoremA(state.depth, largest, end - state.y, m)),
      ms.map((m) => dlinearExplore.law(pair, state.depth, m)),
      ms.map((m) => dlinearExplore.lemmaC5(state.c, state.y, m / state.depth)),
    ];
    draw(state, ms, sin2, curves);
    const at = ms.indexOf(state.m);
    said.textContent = words(state, sin2[at], curves[0][at], curves[1][at]);
  };
  for (const name of NAMES) field(name).addEventListener("input", show);
  window.addEventListener("resize", show);
  show();
})();
