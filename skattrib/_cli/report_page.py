"""The page of a report; every text in it is escaped by Jinja2's autoescape."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>skattrib: {{ test }}</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem;
         padding: 0 1rem; color: #222; background: #fff; }
  h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
  section section { margin-bottom: 2rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; margin: .6rem 0; }
  th, td { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid #eee; }
  td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
  td.value, td.id, td.label { white-space: nowrap; }
  th.column, td.value { color: #444; }
  th.column { font-size: .85em; min-width: 6rem; overflow-wrap: anywhere; vertical-align: bottom; }
  .wrong { color: #b00; }
  .axis { display: block; width: 140px;
          background: linear-gradient(#999, #999) center / 1px 100% no-repeat; }
  .bar { display: block; height: .8em; }
  .bar.for { background: #1f77b4; } .bar.against { background: #d62728; }
  td.for { background: rgb(31 119 180 / var(--share)); }
  td.against { background: rgb(214 39 40 / var(--share)); }
  svg .for { fill: #1f77b4; } svg .against { fill: #d62728; }
  svg text { font-size: 13px; fill: #222; } svg line { stroke: #999; }
  figure { margin: .8rem 0; overflow-x: auto; } figcaption { font-weight: bold; }
  p.note { color: #555; margin: .3rem 0; }
  tr.test td { background: #f6f6f6; }
  img { width: 48px; image-rendering: pixelated; border: 1px solid #ccc; display: block; }
  pre { white-space: pre-wrap; font: inherit; }
</style>
</head>
<body>
<h1>Which training rows made the classifier say this</h1>
<p>{{ method }}, fitted to {{ train }}, explains {{ test }}. skattrib {{ version }}.</p>

<section id="fit">
<h2>Fit</h2>
<table>
{% for name, value in facts %}<tr><th>{{ name }}</th><td class="number">{{ value }}</td></tr>
{% endfor %}</table>
{% if warning %}<p class="wrong">{{ warning }}</p>{% endif %}
{% for line in scores %}<p>{{ line }}</p>
{% endfor %}</section>

<section id="issues">
<h2>Suspicious training rows</h2>
{% if issues %}
<p>{{ n_issues }} of {{ n_train }} training rows have a label that {{ judge }} contradicts\
{% if issues|length < n_issues %}; the {{ issues|length }} most suspicious{% endif %}.
Look at them before they are corrected: some are merely rare.</p>
<div class="scroll"><table>
<tr><th>{{ train_id_name }}</th>{% if has_images %}<th></th>{% endif %}<th>given label</th>
<th>suggested</th><th class="number">score</th><th>strongest evidence: {{ train_id_name }}</th>
{% if has_images %}<th></th>{% endif %}</tr>
{% for issue in issues %}<tr><td>{{ issue.id }}</td>
{% if has_images %}<td><img src="{{ issue.image }}" alt=""></td>{% endif %}
<td>{{ issue.given }}</td><td>{{ issue.suggested }}</td>
<td class="number">{{ issue.score }}</td><td>{{ issue.evidence }}</td>
{% if has_images %}<td><img src="{{ issue.evidence_image }}" alt=""></td>{% endif %}</tr>
{% endfor %}</table></div>
{% else %}<p>No training row has a label that {{ judge }} contradicts.</p>{% endif %}
</section>

<section id="rows">
<h2>Explained rows</h2>
<pre>{{ meaning }}</pre>
{% for row in rows %}<section>
<h3>Test {{ row.id_name }} {{ row.id }}: predicted {{ row.predicted }}\
{% if row.verdict %}, <span class="{{ row.verdict[0] }}">{{ row.verdict[1] }}</span>{% endif %}</h3>
{% if row.output %}<p>decision value of class {{ row.target }}: {{ row.output }}\
{% if row.base %}, {{ row.base }} of it the base value{% endif %}\
{% if row.bound %}, within {{ row.bound }} of the exact optimum's{% endif %}</p>{% endif %}
<div class="scroll"><table>
<tr><th></th>{% if has_images %}<th></th>{% endif %}<th>{{ train_id_name }}</th><th>label</th>
<th class="number">attribution</th><th></th>
{% if has_images %}<th>pixels</th>{% endif %}
{% for column in row.columns %}<th class="column">{{ column }}</th>{% endfor %}</tr>
<tr class="test"><td>test row</td>
{% if has_images %}<td><img src="{{ row.image }}" alt=""></td>{% endif %}
<td class="id">{{ row.id }}</td><td class="label">{{ row.label }}</td><td></td><td></td>
{% if has_images %}<td></td>{% endif %}
{% for value in row.cells %}<td class="value">{{ value }}</td>{% endfor %}</tr>
{% for entry in row.entries %}<tr><td>{{ entry.kind }}</td>
{% if has_images %}<td><img src="{{ entry.image }}" alt=""></td>{% endif %}
<td class="id">{{ entry.id }}</td><td class="label">{{ entry.label }}</td>\
<td class="number">{{ entry.value }}</td>
<td><span class="axis"><span class="bar {{ entry.side }}"
 style="margin-left:{{ entry.start }}px;width:{{ entry.width }}px"></span></span></td>
{% if has_images %}<td><img src="{{ entry.map }}" alt=""></td>{% endif %}
{% for value, side, share in entry.cells %}\
<td class="value {{ side }}" style="--share:{{ share }}">{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% if row.entries %}<p class="note">{% if has_images %}Pixels{% else %}Shading{% endif %}: \
how much of the attribution goes through the {% if has_images %}pixel{% else %}column{% endif %}, \
blue where it raises the explained value, red where it lowers it.</p>{% endif %}
{% if row.sums %}<figure><figcaption>All training rows, summed by label</figcaption>
<svg width="480" height="{{ 22 * row.sums|length + 6 }}" role="img">
<line x1="270" x2="270" y1="0" y2="{{ 22 * row.sums|length + 6 }}"></line>
{% for sum in row.sums %}<text x="190" y="{{ 22 * loop.index - 3 }}" text-anchor="end">\
{{ sum.name }}</text>
<rect class="{{ sum.side }}" x="{{ 200 + sum.start }}" y="{{ 22 * loop.index - 15 }}" \
width="{{ sum.width }}" height="14"></rect>
<text x="350" y="{{ 22 * loop.index - 3 }}">{{ sum.value }}</text>
{% endfor %}</svg></figure>{% endif %}
</section>
{% endfor %}</section>
</body>
</html>
"""
