! SPDX-License-Identifier: Apache-2.0
!> Where the sun stands.
module solar_geometry
   use constants, only: days_per_year, pi, radians, solar_constant, wp
   implicit none
   private
   public :: mean_cosine_zenith, daily_mean_cosine_zenith, declination, irradiance

   real(wp), parameter :: march_equinox = 80.0_wp
      !! Day of the 360-day year.
   real(wp), parameter :: perihelion = 3.0_wp
      !! Day of the 360-day year.
   real(wp), parameter :: eccentricity = 0.0167_wp
   real(wp), parameter :: obliquity = 23.44_wp*radians

contains

   elemental real(wp) function declination(day)
      !! Solar declination on a day of the 360-day year [rad]; circular orbit (Cooper 1969).
      integer, intent(in) :: day

      declination = asin(sin(obliquity)*sin(2.0_wp*pi*(day - 0.5_wp - march_equinox)/days_per_year))
   end function declination

   elemental real(wp) function irradiance(day)
      !! Shortwave that falls on a plane facing the sun outside the atmosphere [W m-2].
      integer, intent(in) :: day

      irradiance = solar_constant*(1.0_wp + 2.0_wp*eccentricity*cos(2.0_wp*pi*(day - perihelion)/days_per_year))
   end function irradiance

   elemental real(wp) function daily_mean_cosine_zenith(lat, decl) result(mean)
      !! Mean over a day of the positive part of the cosine of the solar zenith angle (Iqbal 1983, chapter 4).
      real(wp), intent(in) :: lat
         !! [rad]
      real(wp), intent(in) :: decl
         !! Declination [rad].
      real(wp) :: sunset

      sunset = sunset_hour_angle(lat, decl)
      mean = (sunset*sin(lat)*sin(decl) + sin(sunset)*cos(lat)*cos(decl))/pi
   end function daily_mean_cosine_zenith

   elemental real(wp) function mean_cosine_zenith(lat, decl, from, to) result(mean)
      !! Mean of the positive part of the cosine of the solar zenith angle between two hour angles.
      !!
      !! The cosine is integrated over the sunlit part of the interval, so that hours with sunrise or sunset in
      !! them get their share.
      real(wp), intent(in) :: lat
         !! [rad]
      real(wp), intent(in) :: decl
         !! Declination [rad].
      real(wp), intent(in) :: from
         !! Hour angle [rad], 0 at local noon, of any turn.
      real(wp), intent(in) :: to
         !! Hour angle after `from` and less than a turn away [rad].
      real(wp) :: sunset, turn, first, last
      integer :: day

      sunset = sunset_hour_angle(lat, decl)
      turn = 2.0_wp*pi*floor((from + pi)/(2.0_wp*pi))
      mean = 0.0_wp
      do day = 0, 1  ! an interval over midnight also sees the next morning
         first = max(from - turn - 2.0_wp*pi*day, -sunset)
         last = min(to - turn - 2.0_wp*pi*day, sunset)
         if (last > first) then
            mean = mean + (last - first)*sin(lat)*sin(decl) + (sin(last) - sin(first))*cos(lat)*cos(decl)
         end if
      end do
      mean = max(0.0_wp, mean/(to - from))
   end function mean_cosine_zenith

   elemental real(wp) function sunset_hour_angle(lat, decl)
      !! Hour angle of sunset: 0 in polar night, pi in polar day [rad].
      real(wp), intent(in) :: lat
      real(wp), intent(in) :: decl

      sunset_hour_angle = acos(max(-1.0_wp, min(1.0_wp, -tan(lat)*tan(decl))))
   end function sunset_hour_angle
end module solar_geometry
