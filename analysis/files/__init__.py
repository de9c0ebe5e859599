"""Other people's files made safe: photos and label images that come in, spreadsheets that go out."""
