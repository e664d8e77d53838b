"""UIS notifications, pure: bytes -> what was said -> CallEvent -> the body UIS would have rendered."""
