"""Damages files of JSON as disks, editors and attackers do, from a seed."""

import copy
import json
import random

HOSTILE = (
  *(None, True, False, -1, 0, 1, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e308, 1e-320),
  *(float('nan'), float('inf'), '', '0', 'nan', '../../../etc/passwd', '/etc/passwd', '..', '\0'),
  *('\ud800', 'x' * 5000, '${HOME}', '<script>', '\n', [], {}, [[]], {'': ''}, [1] * 100, [0, -1]),
  *([10**9] * 3, {'__class__': 'os.system'}, 'gASVCgAAAAAAAACMBXBvc2l4lC4='),
)


def mutate(content: bytes, draw: random.Random) -> bytes:
  """Returns `content` with one to three damages: of its bytes, or of the values of its JSON."""
  for _ in range(draw.randint(1, 3)):
    damage = draw.choice(
      (_flip, _cut, _insert, _repeat, _nest, _change_json, _change_json, _change_json)
    )
    content = damage(content, draw)
  return content


def _flip(content, draw):
  data = bytearray(content)
  for _ in range(draw.randint(1, 8)):
    if data:
      data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
  return bytes(data)


def _cut(content, draw):
  start, end = sorted(draw.randint(0, len(content)) for _ in range(2))
  return content[:start] + (content[end:] if draw.random() < 0.5 else b'')


def _insert(content, draw):
  at = draw.randint(0, len(content))
  return content[:at] + draw.randbytes(draw.randint(1, 40)) + content[at:]


def _repeat(content, draw):
  start, end = sorted(draw.randint(0, len(content)) for _ in range(2))
  return content[:end] + content[start:end] * draw.randint(1, 3) + content[end:]


def _nest(content, draw):
  at, depth = draw.randint(0, len(content)), draw.choice((10, 5000))
  return content[:at] + b'[' * depth + content[at:]


def _change_json(content, draw):
  """Changes a value, a key or an entry of one JSON object, of a line where each line has one."""
  lines = content.split(b'\n') if content.count(b'{"step"') > 1 else [content]
  i = draw.randrange(len(lines))
  try:
    value = json.loads(lines[i])
  except (ValueError, RecursionError):
    return content
  lines[i] = json.dumps(_changed(value, draw)).encode()
  return b'\n'.join(lines)


def _changed(value, draw):
  if not isinstance(value, (dict, list)) or not value or draw.random() < 0.15:
    return copy.deepcopy(draw.choice(HOSTILE))
  value = copy.copy(value)
  key = draw.choice([*value] if isinstance(value, dict) else range(len(value)))
  kind = draw.random()
  if kind < 0.12:
    del value[key]
  elif kind < 0.24 and isinstance(value, dict):
    value[draw.choice((f'{key}_', str(key).upper(), '../x', '/x', '-1', '', '9' * 300))] = (
      value.pop(key)
    )
  else:
    value[key] = _changed(value[key], draw)
  return value
