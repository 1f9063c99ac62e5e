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
  body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
         padding: 0 1rem; color: #222; background: #fff; }
  h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
  section section { margin-bottom: 2rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; margin: .6rem 0; }
  th, td { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid #eee; }
  td.number { text-align: right; font-variant-numeric: tabular-nums; }
  th.column, td.value { color: #555; }
  .wrong { color: #b00; }
  .bar { display: inline-block; height: .8em; }
  .for { background: #1f77b4; } .against { background: #d62728; }
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
<th>suggested</th><th>score</th><th>strongest evidence: {{ train_id_name }}</th></tr>
{% for issue in issues %}<tr><td>{{ issue.id }}</td>
{% if has_images %}<td><img src="{{ issue.image }}" alt=""></td>{% endif %}
<td>{{ issue.given }}</td><td>{{ issue.suggested }}</td>
<td class="number">{{ issue.score }}</td><td>{{ issue.evidence }}</td></tr>
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
{% if row.bound %}, within {{ row.bound }} of the exact optimum's{% endif %}</p>{% endif %}
<div class="scroll"><table>
<tr><th></th>{% if has_images %}<th></th>{% endif %}<th>{{ train_id_name }}</th><th>label</th>
<th>attribution</th><th></th>
{% for column in row.columns %}<th class="column">{{ column }}</th>{% endfor %}</tr>
<tr class="test"><td>test row</td>
{% if has_images %}<td><img src="{{ row.image }}" alt=""></td>{% endif %}
<td>{{ row.id }}</td><td>{{ row.label }}</td><td></td><td></td>
{% for value in row.cells %}<td class="value">{{ value }}</td>{% endfor %}</tr>
{% for entry in row.entries %}<tr><td>{{ entry.kind }}</td>
{% if has_images %}<td><img src="{{ entry.image }}" alt=""></td>{% endif %}
<td>{{ entry.id }}</td><td>{{ entry.label }}</td><td class="number">{{ entry.value }}</td>
<td><span class="bar {{ entry.side }}" style="width:{{ entry.width }}px"></span></td>
{% for value in entry.cells %}<td class="value">{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
</section>
{% endfor %}</section>
</body>
</html>
"""
