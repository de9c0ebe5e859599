"""Steps of the Lesson."""
