"""Everything about alert rules: reading them, compressing their time, replaying a recorded fault against them."""
