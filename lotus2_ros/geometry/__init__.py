"""Pure camera and depth geometry: NumPy and OpenCV, no I/O, no torch, no ROS."""
