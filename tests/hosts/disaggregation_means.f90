! SPDX-License-Identifier: Apache-2.0
!> Largest deviations of hourly values from the daily means they came from, over latitudes, longitudes and the year.
program disaggregation_means
   use constants, only: days_per_year, pi, radians, steps_per_day, wp
   use disaggregation, only: daily_range, hourly_longwave, hourly_precipitation, hourly_shortwave, hourly_temperature, &
      spell_start
   use solar_geometry, only: daily_mean_cosine_zenith, declination, mean_cosine_zenith
   implicit none

   real(wp), parameter :: shortwave = 217.3_wp, longwave = 311.7_wp, temperature = 283.4_wp, precipitation = 3.1e-5_wp
   real(wp) :: lat, lon, range, hours(steps_per_day), edges(0:steps_per_day), deviation(4), least, zenith, widest, narrowest
   real(wp) :: starts(0:steps_per_day - 1), warmest
   integer :: day, i, j, hour

   deviation = 0.0_wp
   zenith = 0.0_wp
   least = huge(1.0_wp)
   widest = 0.0_wp
   narrowest = huge(1.0_wp)
   starts = 0.0_wp
   do day = 1, days_per_year, 7
      do j = -12, 12
         lat = 7.3_wp*j
         do i = 0, 11
            lon = 29.7_wp*i
            hours = hourly_shortwave(shortwave, lon, lat, day)
            deviation(1) = max(deviation(1), abs(sum(hours)/steps_per_day - shortwave)/shortwave)
            least = min(least, minval(hours))

            range = daily_range(shortwave, lat, day)
            hours = hourly_temperature(temperature - 7.0_wp, temperature, temperature + 3.0_wp, range, lon)
            deviation(2) = max(deviation(2), abs(sum(hours)/steps_per_day - temperature)/temperature)
            widest = max(widest, range)
            narrowest = min(narrowest, range)

            hours = hourly_longwave(longwave, hours)
            deviation(3) = max(deviation(3), abs(sum(hours)/steps_per_day - longwave)/longwave)

            hours = hourly_precipitation(precipitation, spell_start(100*i + j + 13, day))
            deviation(4) = max(deviation(4), abs(sum(hours)/steps_per_day - precipitation)/precipitation)
            hour = spell_start(100*i + j + 13, day)
            starts(hour) = starts(hour) + 1.0_wp

            edges = [(2.0_wp*pi*hour/steps_per_day + lon*radians - pi, hour=0, steps_per_day)]
            hours = mean_cosine_zenith(lat*radians, declination(day), edges(:steps_per_day - 1), edges(1:))
            zenith = max(zenith, abs(sum(hours)/steps_per_day &
               - daily_mean_cosine_zenith(lat*radians, declination(day))))
         end do
      end do
   end do
   hours = hourly_temperature(temperature, temperature, temperature, 10.0_wp, 0.0_wp)
   warmest = real(maxloc(hours, dim=1), wp) - 0.5_wp

   print '(a, es12.4)', 'shortwave=', deviation(1), 'temperature=', deviation(2), 'longwave=', deviation(3), &
      'precipitation=', deviation(4), 'least_shortwave=', least, 'cosine_zenith=', zenith, 'widest_range=', widest, &
      'narrowest_range=', narrowest, 'warmest_hour=', warmest, 'rarest_start=', minval(starts)/(sum(starts)/24), &
      'commonest_start=', maxval(starts)/(sum(starts)/24), 'solstice=', declination(170)/radians
end program disaggregation_means
