"""What is drawn for people: sheets of pictures, pages, plots."""
