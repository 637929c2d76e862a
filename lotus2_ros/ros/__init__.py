"""The ROS 2 side: the only package that imports rclpy and messages. It never loads torch."""
