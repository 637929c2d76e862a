"""A robot in a MuJoCo world with ground truth: geometry, pictures and sensors. No ROS, no torch."""
