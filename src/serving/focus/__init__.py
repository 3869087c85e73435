"""The FOCUS export: the cost and usage data that FinOps tools read, as files, from one publication and without Spark."""

from .declaration import VERSIONS, ExportSettings, load_export
from .exporting import Selection, export_focus

__all__ = ["VERSIONS", "ExportSettings", "Selection", "export_focus", "load_export"]
