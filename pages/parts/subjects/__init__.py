"""What a page looks at: models, pictures, and the captures of both."""
