"""The paper's training recipe: synthetic scenes, stages, metrics. Imports torch; no ROS."""
