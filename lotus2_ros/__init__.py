"""Lotus-2 depth and surface normals for ROS 2.

Importing this package loads neither torch nor ROS; each subpackage brings what it needs.
"""

__version__ = '0.1.0'
