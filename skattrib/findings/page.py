"""The pages of a report and of a notebook; Jinja2's autoescape escapes every text in them."""

STYLE = """\
  .skattrib .scroll { overflow-x: auto; }
  .skattrib table { border-collapse: collapse; margin: .6rem 0; }
  .skattrib th, .skattrib td { padding: .2rem .6rem; text-align: left;
    border-bottom: 1px solid rgb(128 128 128 / .2); }
  .skattrib td.number, .skattrib th.number { text-align: right;
    font-variant-numeric: tabular-nums; white-space: nowrap; }
  .skattrib td.value, .skattrib td.id, .skattrib td.label { white-space: nowrap; }
  .skattrib td.text { min-width: 12rem; max-width: 30rem; }
  .skattrib th { vertical-align: bottom; }
  .skattrib th.column { font-size: .85em; min-width: 4rem; max-width: 9rem;
    white-space: normal; overflow-wrap: anywhere; }
  .skattrib .wrong { color: #c22; }
  .skattrib .axis { display: block; width: 140px;
    background: linear-gradient(#999, #999) center / 1px 100% no-repeat; }
  .skattrib .bar { display: block; height: .8em; }
  .skattrib .bar.for { background: #1f77b4; } .skattrib .bar.against { background: #d62728; }
  .skattrib td.for { background: rgb(31 119 180 / var(--share)); }
  .skattrib td.against { background: rgb(214 39 40 / var(--share)); }
  @media (max-width: 600px) { .skattrib .axis { zoom: .5; } }
  .skattrib p.note { opacity: .75; margin: .3rem 0; }
  .skattrib tr.test td { background: rgb(128 128 128 / .1); }
  .skattrib img { width: 48px; image-rendering: pixelated; border: 1px solid #ccc;
    display: block; }
"""

ROWS = """\
{% macro heading(row) %}Test {{ row.id_name }} {{ row.id }}: predicted {{ row.predicted }}\
{% if row.verdict %}, <span class="{{ row.verdict[0] }}">{{ row.verdict[1] }}</span>{% endif %}\
{% endmacro %}
{% macro explained(row, train_id_name, has_images) %}\
{% if row.text is not none %}<p class="text">{{ row.text }}</p>{% endif %}
{% if row.output %}<p>decision value of {{ row.target }}: {{ row.output }}\
{% if row.base %}, {{ row.base }} of it the base value{% endif %}\
{% if row.bound %}, within {{ row.bound }} of the exact optimum's{% endif %}\
{% if row.loose %}, <span class="wrong">{{ row.loose }}</span>{% endif %}</p>{% endif %}
<div class="scroll"><table>
<tr><th></th>{% if has_images %}<th></th>{% endif %}<th>{{ train_id_name }}</th><th>label</th>
<th class="number">attribution</th><th></th>
{% if has_images %}<th>pixels</th>{% endif %}
{% for name, style in row.columns %}<th class="column {{ style }}">{{ name }}</th>{% endfor %}\
{% if row.has_texts %}<th>text</th>{% endif %}</tr>
{% if not row.has_texts %}<tr class="test"><td>test row</td>
{% if has_images %}<td><img src="{{ row.image }}" alt=""></td>{% endif %}
<td class="id">{{ row.id }}</td><td class="label">{{ row.label }}</td><td></td><td></td>
{% if has_images %}<td></td>{% endif %}
{% for value, style in row.cells %}<td class="value {{ style }}">{{ value }}</td>{% endfor %}\
</tr>{% endif %}
{% for entry in row.entries %}<tr><td>{{ entry.kind }}</td>
{% if has_images %}<td><img src="{{ entry.image }}" alt=""></td>{% endif %}
<td class="id">{{ entry.id }}</td><td class="label">{{ entry.label }}</td>\
<td class="number">{{ entry.value }}</td>
<td><span class="axis"><span class="bar {{ entry.side }}"
 style="margin-left:{{ entry.start }}px;width:{{ entry.width }}px"></span></span></td>
{% if has_images %}<td><img src="{{ entry.map }}" alt=""></td>{% endif %}
{% for value, style, share in entry.cells %}\
<td class="value {{ style }}" style="--share:{{ share }}">{{ value }}</td>{% endfor %}\
{% if row.has_texts %}<td class="text">{{ entry.text }}</td>{% endif %}</tr>
{% endfor %}</table></div>{% endmacro %}
{% macro shading(has_images) %}<p class="note">{% if has_images %}Pixels{% else %}Shading\
{% endif %}: how much of the attribution goes through the \
{% if has_images %}pixel{% else %}column{% endif %}, blue where it raises the explained value, \
red where it lowers it.</p>{% endmacro %}
"""

NOTEBOOK = (
    ROWS
    + """\
<div class="skattrib"><style>
"""
    + STYLE
    + """\
</style>
<p><b>{{ title }}</b></p>
{% for line in notes %}<p class="wrong">{{ line }}</p>{% endfor %}
{% for row in rows %}<p><b>{{ heading(row) }}</b></p>
{{ explained(row, train_id_name, false) }}
{% endfor %}
{% if shaded %}{{ shading(false) }}{% endif %}
{% if n_more %}<p class="note">{{ n_more }} more rows: slices show them, to_html(path) writes \
all.</p>{% endif %}
</div>
"""
)

PAGE = (
    ROWS
    + """\
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
         padding: 0 1rem; color: #222; background: #fff; overflow-wrap: break-word; }
  h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
  section section { margin-bottom: 2rem; }
  svg .for { fill: #1f77b4; } svg .against { fill: #d62728; }
  svg text { font-size: 13px; fill: #222; font-variant-numeric: tabular-nums; }
  svg line { stroke: #999; }
  figure { margin: .8rem 0; overflow-x: auto; } figcaption { font-weight: bold; }
  pre { white-space: pre-wrap; font: inherit; }
  @media (max-width: 600px) { #errors th { white-space: normal; } }
"""
    + STYLE
    + """\
</style>
</head>
<body class="skattrib">
<h1>Which training rows made the classifier say this</h1>
<p>{{ method }}{% if train %}, fitted to {{ train }},{% endif %} explains {{ test }}. \
skattrib {{ version }}.</p>

<section id="fit">
<h2>Fit</h2>
<div class="scroll"><table>
{% for name, value in facts %}<tr><th>{{ name }}</th><td class="number">{{ value }}</td></tr>
{% endfor %}</table></div>
{% for line in warnings %}<p class="wrong">{{ line }}</p>{% endfor %}
{% for line in scores %}<p>{{ line }}</p>
{% endfor %}</section>

{% if notes %}<section id="columns">
<h2>Columns</h2>
<ul>{% for line in notes %}<li>{{ line }}</li>
{% endfor %}</ul>
</section>{% endif %}

{% if issues is not none %}<section id="issues">
<h2>Suspicious training rows</h2>
{% if issues %}
<p{% if many_issues %} class="wrong"{% endif %}>{{ issues_summary }}</p>
<p>As {{ judge }} judges{% if issues|length < n_issues %}, the {{ issues|length }} most suspicious\
{% endif %}. Look at them before they are corrected: some are merely rare.</p>
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
</section>{% endif %}

{% if errors %}<section id="errors">
<h2>Kinds of error</h2>
<p>{{ errors.n_errors }} errors among {{ errors.n_compared }} test rows\
{% if errors.n_rows %}, drawn at random from {{ errors.n_rows }}{% endif %}\
{% if errors.n_unknown %}, without {{ errors.n_unknown }} with labels that no training row has\
{% endif %}. {% if errors.n_kinds == 1 %}One kind has\
{% else %}{{ errors.n_kinds }} kinds have{% endif %} {{ errors.min_errors }} errors or more\
{% if errors.kinds|length < errors.n_kinds %}; below are the {{ errors.kinds|length }} most \
frequent{% endif %}.</p>
<p>For each kind, the training rows that push most towards it: their mean attribution to the \
margin, which is the decision value of the true class minus that of the predicted one, so that \
negative values push towards the error; and the shares of these errors, and of rows of the true \
class that are predicted rightly, in which they are among the {{ errors.k }} strongest opponents \
of the margin.</p>
<p>{{ errors.caution }}</p>
{% for kind in errors.kinds %}<section>
<h3>{{ kind.true }} taken for {{ kind.predicted }}: {{ kind.n_errors }} errors</h3>
{% if kind.rows %}<div class="scroll"><table>
<tr><th scope="col">{{ train_id_name }}</th>{% if has_images %}<th></th>{% endif %}\
<th scope="col">label</th><th scope="col" class="number">mean attribution</th>\
<th scope="col" class="number">share of errors</th>\
<th scope="col" class="number">share of right rows</th></tr>
{% for row in kind.rows %}<tr><td class="id">{{ row.id }}</td>
{% if has_images %}<td>{% if row.image %}<img src="{{ row.image }}" alt="">{% endif %}</td>\
{% endif %}
<td class="label">{{ row.label }}</td><td class="number">{{ row.value }}</td>\
<td class="number">{{ row.share }}</td><td class="number">{{ row.control }}</td></tr>
{% endfor %}</table></div>
<p class="note">{% if kind.n_control %}Right rows: {{ kind.n_control }} of class {{ kind.true }}.\
{% else %}No row of class {{ kind.true }} is predicted rightly.{% endif %}</p>
{% else %}<p>No training row pushes towards it.</p>{% endif %}
</section>
{% endfor %}</section>{% endif %}

<section id="rows">
<h2>Explained rows</h2>
<pre>{{ meaning }}</pre>
{% for row in rows %}<section>
<h3>{{ heading(row) }}</h3>
{{ explained(row, train_id_name, has_images) }}
{% if row.entries and (has_images or row.columns) %}{{ shading(has_images) }}{% endif %}
{% if row.sums %}<figure><figcaption>All training rows, summed by label</figcaption>
<svg width="480" height="{{ 22 * row.sums|length + 6 }}" role="img">
<line x1="270" x2="270" y1="0" y2="{{ 22 * row.sums|length + 6 }}"></line>
{% for sum in row.sums %}<text x="190" y="{{ 22 * loop.index - 3 }}" text-anchor="end">\
{{ sum.name }}</text>
<rect class="{{ sum.side }}" x="{{ 200 + sum.start }}" y="{{ 22 * loop.index - 15 }}" \
width="{{ sum.width }}" height="14"></rect>
<text x="430" y="{{ 22 * loop.index - 3 }}" text-anchor="end">{{ sum.value }}</text>
{% endfor %}</svg></figure>{% endif %}
</section>
{% endfor %}</section>
</body>
</html>
"""
)
