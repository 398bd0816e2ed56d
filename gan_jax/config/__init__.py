"""Describes a run by one frozen dataclass, and makes the Gan that it stands for."""
