// Charts from the options in the page, and the same address asked again while it is open. No number is computed here.
"use strict";
(() => {
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7aa9", "#7f7f7f"]; // Okabe and Ito
  const NAMED = { "@up": "#d55e00", "@down": "#0072b2", "@good": "#009e73", "@watch": "#e69f00", "@bad": "#d55e00", "@total": "#7f7f7f", "@quiet": "#9aa4b0" };
  const MOST_PATTERNS = 200; // of more points, a printer takes minutes over the patterns
  const plain = new Intl.NumberFormat("en-US", { maximumFractionDigits: 4 });
  const cents = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 4 });
  const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");
  const charts = new Map();
  const was = new Map(); // each part as the server sent it

  const said = (value, unit, format) => {
    if (value === null || value === undefined || value === "") return "–";
    if (unit === "USD") return format === short ? `$${short.format(value)}` : cents.format(value);
    if (unit === "fraction") return `${plain.format(100 * value)} %`;
    return unit === "%" ? `${plain.format(value)} %` : format.format(value);
  };

  const theme = () => {
    const night = dark.matches && !print.matches;
    const ink = night ? "#e8ecf1" : "#1b2430", soft = night ? "#a9b4c1" : "#55606e", line = night ? "#36404c" : "#d7dce3";
    const axis = {
      axisLine: { lineStyle: { color: soft } }, axisTick: { lineStyle: { color: soft } }, axisLabel: { color: soft, hideOverlap: true },
      nameTextStyle: { color: soft }, splitLine: { lineStyle: { color: line } },
    };
    return {
      color: COLOURS, backgroundColor: "transparent", textStyle: { color: ink, fontFamily: getComputedStyle(document.body).fontFamily },
      legend: { textStyle: { color: ink }, pageTextStyle: { color: ink }, pageIconColor: soft, pageIconInactiveColor: line },
      tooltip: { backgroundColor: night ? "#25303b" : "#ffffff", borderColor: line, textStyle: { color: ink } },
      categoryAxis: axis, valueAxis: axis,
    };
  };

  // Colours by name, and number formats by unit: what an option cannot hold as plain data.
  const finished = (option) => {
    const found = JSON.parse(JSON.stringify(option), (_, value) => (typeof value === "string" && value in NAMED ? NAMED[value] : value));
    for (const axis of [found.xAxis, found.yAxis].flat()) {
      if (axis && axis.type === "value") axis.axisLabel = { formatter: (value) => said(value, axis.unit, short) };
    }
    const unit = (found.tooltip || {}).unit;
    if (found.tooltip) found.tooltip.valueFormatter = (value) => said(value, unit, plain);
    const points = found.series.reduce((sum, one) => sum + (one.type === "bar" ? one.data.length : 1), 0);
    if (found.aria) found.aria.decal = { show: print.matches && points <= MOST_PATTERNS };
    return found;
  };

  const optionOf = (name) => finished(JSON.parse(document.querySelector(`script[data-option="${name}"]`).textContent));

  const draw = (place) => {
    const name = place.dataset.chart;
    const known = echarts.getInstanceByDom(place);
    if (known) known.dispose();
    const chart = echarts.init(place, theme(), { renderer: "svg" });
    chart.setOption(optionOf(name));
    charts.set(name, chart);
    fit(chart);
  };

  // Paper has another width than the window: with a view box the drawing follows it.
  const fit = (chart) => {
    const svg = chart.getDom().querySelector("svg");
    if (svg) svg.setAttribute("viewBox", `0 0 ${chart.getWidth()} ${chart.getHeight()}`);
  };

  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

  const ago = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const minutes = Math.round((Date.now() - Date.parse(time.dateTime)) / 60000);
      const text = minutes < 1 ? "just now" : minutes < 120 ? `${minutes} min ago` : minutes < 2880 ? `${Math.round(minutes / 60)} h ago` : `${plain.format(Math.round(minutes / 1440))} days ago`;
      time.title = text;
    }
  };

  const FOCUSABLE = "a[href], button, select, input, summary, [tabindex]";

  // All parts that differ are replaced at once, so that the page is of one publication; an open <details>, the scrolled
  // place and the focus stay. While somebody fills in a form of a part that would change, nothing is replaced: the answer
  // is no, and the next look tries again.
  const renew = (page) => {
    const here = [...document.querySelectorAll("[data-part]")];
    const later = new Map([...page.querySelectorAll("[data-part]")].map((part) => [part.id, part]));
    const focus = document.activeElement;
    const isSame = here.length === later.size && here.every((part) => later.has(part.id));
    const parts = isSame ? here.filter((part) => was.get(part.id) !== later.get(part.id).innerHTML)
      : [document.querySelector("main"), document.getElementById("publication")];
    const held = parts.find((part) => part !== focus && part.contains(focus));
    if (held && focus.matches("select, input, form button")) return false;
    for (const part of parts) {
      const next = later.get(part.id) || page.getElementById(part.id);
      was.set(part.id, next.innerHTML);
      const open = [...part.querySelectorAll("details")].map((one) => one.open);
      const place = [...part.querySelectorAll(FOCUSABLE)].indexOf(focus);
      const top = (part.querySelector(".scroll") || {}).scrollTop;
      const plot = part.querySelector("[data-chart]"), nextPlot = next.querySelector("[data-chart]");
      const isKept = isSame && plot && nextPlot; // the drawn chart stays and is given the new numbers
      if (isKept) nextPlot.replaceWith(plot);
      part.replaceChildren(...document.adoptNode(next).childNodes);
      part.querySelectorAll("details").forEach((one, i) => { one.open = !!open[i]; });
      if (top) part.querySelector(".scroll").scrollTop = top;
      if (part === held && place >= 0) ([...part.querySelectorAll(FOCUSABLE)][place] || document.querySelector("main")).focus({ preventScroll: true });
      if (isKept) charts.get(plot.dataset.chart).setOption(optionOf(plot.dataset.chart), true);
      else part.querySelectorAll("[data-chart]").forEach(draw);
    }
    if (!isSame) start();
    ago();
    return true;
  };

  const tell = (text) => { const place = document.getElementById("said"); if (place.textContent !== text) place.textContent = text; };

  const refresh = async (body) => {
    let answer;
    try {
      answer = await fetch(location.href, { headers: { "If-None-Match": body.dataset.etag }, cache: "no-store" });
    } catch {
      tell("The server does not answer; these are the last numbers it gave.");
      return;
    }
    if (answer.status === 304) { tell(""); return; }
    if (answer.status !== 200) { tell(`The server cannot answer now (${answer.status}); these are the last numbers it gave.`); return; }
    const etag = answer.headers.get("ETag");
    if (!renew(new DOMParser().parseFromString(await answer.text(), "text/html"))) return;
    body.dataset.etag = etag;
    tell(`Renewed at ${new Date().toISOString().slice(11, 19)} UTC.`);
  };

  // What is there, drawn: once at the start, and again where the whole page is replaced.
  const start = () => {
    document.querySelectorAll("[data-part]").forEach((part) => was.set(part.id, part.innerHTML));
    drawAll();
    ago();
    for (const form of document.querySelectorAll("form.filters[method=get]")) {
      form.addEventListener("formdata", (event) => { // an empty filter has no place in the address
        for (const [name, value] of [...event.formData.entries()]) if (value === "") event.formData.delete(name);
      });
    }
  };

  start();
  setInterval(ago, 30000);
  new ResizeObserver(() => charts.forEach((chart) => { if (!print.matches) { chart.resize(); fit(chart); } })).observe(document.body);
  for (const query of [dark, print]) query.addEventListener("change", drawAll);
  if (document.body.dataset.refresh) setInterval(() => { if (!document.hidden) refresh(document.body); }, 1000 * Number(document.body.dataset.refresh));
  document.body.dataset.ready = Math.round(performance.now()); // milliseconds from the click to the drawn page
})();
