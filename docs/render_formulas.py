"""Renders $formulas$ as MathML at build time, so that the site needs no script from elsewhere."""

import re

from latex2mathml.converter import convert

_CODE = re.compile(r'(^```.*?^```|`[^`\n]*`)', re.M | re.S)
_BLOCK = re.compile(r'\$\$(.+?)\$\$', re.S)
_INLINE = re.compile(r'(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\w)')
_NAME = re.compile(r'<mo>([A-Za-z]{2,})</mo>')  # an operator's name, which needs no space before (
# A function's name, perhaps with an index, before an argument without parenthesis.
_FUNCTION = re.compile(
  r'(<mi>(?:log|det|exp)</mi>|<msub><mi>log</mi>(?:<mn>\d</mn>|<mrow><mn>\d</mn></mrow>)</msub>)(?=<m(?:i|n|sub|sup|frac|row)>)'
)
# A factor before the name of a function.
_FACTOR = re.compile(r'(</mn>|</mfrac>|<mi>\w</mi>)(?=<mi>[A-Za-z]{2,}</mi>)')


def on_page_markdown(markdown, **kwargs):
  """Replaces formulas outside code; a block stands between double dollars."""
  parts = _CODE.split(markdown)
  for i in range(0, len(parts), 2):
    parts[i] = _BLOCK.sub(_render_block, parts[i])
    # Within a span: Markdown takes a line that begins with <math> for a block of HTML.
    parts[i] = _INLINE.sub(lambda m: f'<span>{_render(m[1])}</span>', parts[i])
  return ''.join(parts)


def _render_block(match):
  math = _render(match[1].strip(), display='block')
  return f'<div style="padding: .4em 0; overflow: auto hidden">{math}</div>'


def _render(formula, **options):
  """Returns a formula as MathML, with the spaces that TeX has around names of functions."""
  math = convert(formula, **options).replace('<mi>&#x0007E;</mi>', '<mo>&#x223C;</mo>')
  math = _NAME.sub(r'<mi>\1</mi>', math)
  math = _FACTOR.sub(r'\1<mspace width="0.17em" />', math)
  return _FUNCTION.sub(r'\1<mspace width="0.17em" />', math)
