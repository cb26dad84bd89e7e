// The page is complete without this script; it adds a theme switch, copy buttons, readouts on charts, the
// threshold slider, and a reload that can be paused.
(function () {
  'use strict';
  var root = document.documentElement;
  function byId(id) { return document.getElementById(id); }
  function all(selector, from) { return Array.prototype.slice.call((from || document).querySelectorAll(selector)); }
  // Storage is refused for local files in some browsers; the page then forgets, and nothing else.
  function keep(store, key, value) { try { window[store].setItem(key, value); } catch (e) { /* see above */ } }
  function kept(store, key) { try { return window[store].getItem(key); } catch (e) { return null; } }

  var theme = document.querySelector('.theme');
  theme.hidden = false;
  theme.addEventListener('click', function () {
    var dark = root.dataset.theme ? root.dataset.theme === 'dark'
      : window.matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    keep('localStorage', 'feedforward-theme', root.dataset.theme);
  });

  function copy(text, done) {
    function fallback() {
      var area = document.createElement('textarea');
      area.value = text;
      document.body.appendChild(area);
      area.select();
      var ok = document.execCommand('copy');
      area.remove();
      done(ok);
    }
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(text).then(function () { done(true); }, fallback);
    } else {
      fallback();
    }
  }
  all('code.copy').forEach(function (code) {
    var box = document.createElement('div');
    box.className = 'copyable';
    code.parentNode.replaceChild(box, code);
    box.appendChild(code);
    var button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Copy';
    button.setAttribute('aria-label', 'Copy: ' + code.textContent.slice(0, 80));
    box.appendChild(button);
    button.addEventListener('click', function () {
      copy(code.textContent, function (ok) {
        button.textContent = ok ? 'Copied' : 'Select';
        setTimeout(function () { button.textContent = 'Copy'; }, 1500);
      });
    });
  });

  // Which section is being read.
  var links = {};
  all('.contents ol a').forEach(function (a) { links[a.hash.slice(1)] = a; });
  if (window.IntersectionObserver) {
    var seen = new IntersectionObserver(function (entries) {
      entries.forEach(function (e) {
        if (!e.isIntersecting) return;
        all('.contents a.here').forEach(function (a) { a.classList.remove('here'); });
        if (links[e.target.id]) links[e.target.id].classList.add('here');
      });
    }, { rootMargin: '-10% 0px -75% 0px' });
    all('section').forEach(function (s) { seen.observe(s); });
  }

  // A path in the namespace of the chart that it is for.
  function path(svg) { return document.createElementNS(svg.namespaceURI, 'path'); }
  function short(x) {
    var a = Math.abs(x);
    if (a === 0) return '0';
    if (a >= 1e6 || a < 1e-3) return x.toExponential(2);
    return a >= 100 ? String(Math.round(x)) : x.toPrecision(3);
  }
  function inverse(axis, t) {
    return axis[2] ? Math.exp(Math.log(axis[0]) + t * (Math.log(axis[1]) - Math.log(axis[0])))
      : axis[0] + t * (axis[1] - axis[0]);
  }
  // A chart's values are read back from its paths, so that the file need not carry them twice.
  function readout(svg) {
    var box = svg.dataset.box.split(',').map(Number);
    var ax = svg.dataset.x.split(',').map(Number);
    var ay = svg.dataset.y.split(',').map(Number);
    var lines = all('g.series', svg).map(function (g) {
      var paths = all('path.ln', g);
      var d = paths[paths.length - 1].getAttribute('d') || '';
      var n = (d.match(/-?\d+(\.\d+)?/g) || []).map(Number);
      var points = [];
      for (var i = 0; i + 1 < n.length; i += 2) points.push([n[i], n[i + 1]]);
      var last = points[points.length - 1];
      var apart = points.length > 1 ? (last[0] - points[0][0]) / (points.length - 1) : 0;
      return { name: g.dataset.name, points: points, reach: Math.max(4, apart / 2 + 1) };
    }).filter(function (l) { return l.points.length > 1; });
    if (!lines.length) return;
    var line = path(svg);
    line.setAttribute('class', 'mark');
    var tip = null;
    function leave() { line.remove(); if (tip) { tip.remove(); tip = null; } }
    svg.addEventListener('pointerleave', leave);
    svg.addEventListener('pointermove', function (e) {
      var r = svg.getBoundingClientRect();
      var scale = svg.viewBox.baseVal.width / r.width;
      var x = (e.clientX - r.left) * scale;
      if (x < box[0] - 8 || x > box[2] + 8) { leave(); return; }
      var at = null;
      lines.forEach(function (l) {
        l.points.forEach(function (p) { if (at === null || Math.abs(p[0] - x) < Math.abs(at - x)) at = p[0]; });
      });
      line.setAttribute('d', 'M' + at + ' ' + box[1] + 'V' + box[3]);
      svg.appendChild(line);
      if (!tip) { tip = document.createElement('div'); tip.className = 'tip'; document.body.appendChild(tip); }
      tip.textContent = String(Number(short(inverse(ax, (at - box[0]) / (box[2] - box[0])))));
      lines.forEach(function (l) {
        var near = null;
        l.points.forEach(function (p) { if (!near || Math.abs(p[0] - at) < Math.abs(near[0] - at)) near = p; });
        if (Math.abs(near[0] - at) > l.reach) return;
        var row = document.createElement('div');
        row.textContent = l.name + ' ' + short(inverse(ay, (box[3] - near[1]) / (box[3] - box[1])));
        tip.appendChild(row);
      });
      var left = r.left + at / scale + 12;
      if (left + tip.offsetWidth > root.clientWidth - 8) left = r.left + at / scale - 12 - tip.offsetWidth;
      tip.style.left = Math.max(4, left + window.scrollX) + 'px';
      tip.style.top = (r.top + window.scrollY + box[1] / scale) + 'px';
    });
  }
  all('svg[data-box]').forEach(readout);

  var source = byId('threshold-data');
  if (source) (function () {
    var data = JSON.parse(source.textContent);
    var range = byId('t-range');
    var chart = document.querySelector('.threshold svg[data-box]');
    var cursor = chart && path(chart);
    if (cursor) {
      cursor.setAttribute('class', 'cursor');
      chart.appendChild(cursor);
    }
    function cost(i) {
      return data.fp[i] * (Number(byId('t-cfp').value) || 0) + data.fn[i] * (Number(byId('t-cfn').value) || 0);
    }
    function ratio(a, b) { return b > 0 ? (a / b).toFixed(3) : '—'; }
    function f1(i) { return 2 * data.tp[i] / Math.max(1, 2 * data.tp[i] + data.fp[i] + data.fn[i]); }
    function show() {
      var i = Number(range.value);
      var tp = data.tp[i], fp = data.fp[i], fn = data.fn[i], tn = data.tn[i];
      byId('t-value').textContent = data.t[i].toFixed(3);
      byId('t-precision').textContent = ratio(tp, tp + fp);
      byId('t-recall').textContent = ratio(tp, tp + fn);
      byId('t-f1').textContent = f1(i).toFixed(3);
      byId('t-accuracy').textContent = ratio(tp + tn, tp + tn + fp + fn);
      byId('t-fp').textContent = fp;
      byId('t-fn').textContent = fn;
      byId('t-flagged').textContent = tp + fp;
      byId('t-cost').textContent = short(cost(i));
      range.setAttribute('aria-valuetext', data.t[i].toFixed(3));
      if (cursor) {
        var box = chart.dataset.box.split(',').map(Number);
        var x = box[0] + data.t[i] * (box[2] - box[0]);
        cursor.setAttribute('d', 'M' + x.toFixed(1) + ' ' + box[1] + 'V' + box[3]);
      }
    }
    function best(score) {
      var at = 0;
      data.t.forEach(function (_, i) { if (score(i) > score(at)) at = i; });
      range.value = at;
      show();
    }
    ['input', 'change'].forEach(function (type) { range.addEventListener(type, show); });
    ['t-cfp', 't-cfn'].forEach(function (id) { byId(id).addEventListener('input', show); });
    byId('t-best').addEventListener('click', function () { best(function (i) { return -cost(i); }); });
    byId('t-bestf1').addEventListener('click', function () { best(f1); });
    byId('chooser').hidden = false;
    show();
  })();

  // While training runs the page reloads itself, at the same place, until it is paused.
  var every = Number(root.dataset.reload);
  if (every > 0) (function () {
    var key = 'feedforward-scroll';
    var pause = byId('pause');
    var paused = kept('sessionStorage', 'feedforward-paused') === '1';
    var place = kept('sessionStorage', key);
    if (place) window.scrollTo({ top: Number(place), behavior: 'instant' });
    pause.hidden = false;
    function label() {
      pause.textContent = paused ? 'Go on' : 'Pause';
      byId('reload').textContent = paused ? 'Paused.' : 'This page reloads every ' + every + ' s.';
    }
    label();
    pause.addEventListener('click', function () {
      paused = !paused;
      keep('sessionStorage', 'feedforward-paused', paused ? '1' : '0');
      label();
    });
    setInterval(function () {
      if (paused || document.hidden || String(window.getSelection())) return;
      keep('sessionStorage', key, String(window.scrollY));
      location.reload();
    }, every * 1000);
  })();
})();
