"""The branch of single frames: person boxes, joints, whose joints they are, and what people do."""
