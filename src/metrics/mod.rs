//! Pure functions from predictions to [`Scores`].
