"""Renders $formulas$ as MathML at build time, so that the site needs no script from elsewhere."""

import re

from latex2mathml.converter import convert

_CODE = re.compile(r'(^```.*?^```|`[^`\n]*`)', re.M | re.S)
_BLOCK = re.compile(r'\$\$(.+?)\$\$', re.S)
_INLINE = re.compile(r'(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\w)')


def on_page_markdown(markdown, **kwargs):
  """Replaces formulas outside code; a block stands between double dollars."""
  parts = _CODE.split(markdown)
  for i in range(0, len(parts), 2):
    parts[i] = _BLOCK.sub(lambda m: f'<div>{convert(m[1].strip(), display="block")}</div>', parts[i])
    parts[i] = _INLINE.sub(lambda m: convert(m[1]), parts[i])
  return ''.join(parts)
