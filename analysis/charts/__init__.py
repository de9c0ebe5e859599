"""Charts as Plotly figures; nothing else imports Plotly."""
