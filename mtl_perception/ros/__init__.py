"""The only room that imports ROS: nodes, and the conversion of their messages."""
